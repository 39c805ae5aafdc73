package k8srig

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// The users that the API server knows by token. The token is the name.
const (
	Admin      = "admin"
	controller = "system:kube-controller-manager"
	scheduler  = "system:kube-scheduler"
	proxy      = "system:kube-proxy"
	audited    = "audited" // an administrator whose requests are written down
)

// ControlPlane is an API server with its store, and on request the controllers and the scheduler.
type ControlPlane struct {
	tools     Tools
	dir       string
	address   string
	nodes     []string
	features  []string
	pods      string
	etcd      *Process
	apiserver *Process
	others    []*Process
}

// ControlPlaneOptions are those of a ControlPlane.
type ControlPlaneOptions struct {
	Tools    Tools
	Dir      string   // for data, keys and logs
	Address  string   // that the API server listens at; one of this namespace's
	Nodes    []string // names of nodes that may register
	Features []string // feature gates of the API server, such as WatchList=false
	Pods     string   // the network that the controllers divide among the nodes for their pods; "" for none
}

// StartControlPlane starts etcd and the API server, and waits until it is ready.
func StartControlPlane(ctx context.Context, o ControlPlaneOptions) (*ControlPlane, error) {
	c := &ControlPlane{tools: o.Tools, dir: o.Dir, address: o.Address, nodes: o.Nodes, features: o.Features, pods: o.Pods}
	if err := os.MkdirAll(filepath.Join(c.dir, "certs"), 0o755); err != nil {
		return nil, err
	}
	if err := c.credentials(); err != nil {
		return nil, err
	}
	var err error
	c.etcd, err = c.start("etcd", "etcd", "--name=k8srig", "--data-dir="+filepath.Join(c.dir, "etcd"),
		"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
		"--initial-cluster=k8srig=http://127.0.0.1:2380", "--unsafe-no-fsync", "--quota-backend-bytes=8589934592")
	if err != nil {
		return nil, err
	}
	return c, c.StartAPIServer(ctx)
}

// credentials writes the key of service accounts, the tokens, and a kubeconfig for each user.
func (c *ControlPlane) credentials() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{
		"sa.key": {Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)},
		"sa.pub": {Type: "PUBLIC KEY", Bytes: public},
	} {
		if err := os.WriteFile(filepath.Join(c.dir, "certs", name), pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	var tokens strings.Builder
	users := map[string]string{Admin: "system:masters", audited: "system:masters", controller: "", scheduler: "", proxy: ""}
	for _, n := range c.nodes {
		users["system:node:"+n] = "system:nodes"
	}
	for name, group := range users {
		fmt.Fprintf(&tokens, "%s,%s,%s,%q\n", name, name, name, group)
		if err := os.WriteFile(c.Kubeconfig(name), []byte(c.kubeconfig(name)), 0o600); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(c.dir, "audit.yaml"), []byte(auditPolicy), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.dir, "certs", "tokens.csv"), []byte(tokens.String()), 0o600)
}

const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
rules: [{level: Metadata, users: [` + audited + `], omitStages: [RequestReceived]}, {level: None}]
`

// Kubeconfig is the path of a user's.
func (c *ControlPlane) Kubeconfig(user string) string {
	return filepath.Join(c.dir, strings.ReplaceAll(user, ":", "_")+".kubeconfig")
}

// Server is the API server's URL, and CA the file with its authority's certificate.
func (c *ControlPlane) Server() string { return "https://" + c.address + ":6443" }

// CA is the file with the certificate of the API server's authority.
func (c *ControlPlane) CA() string { return filepath.Join(c.dir, "certs", "apiserver.crt") }

func (c *ControlPlane) kubeconfig(token string) string {
	return Kubeconfig(c.Server(), c.CA(), token)
}

// Kubeconfig is one for a server and a token.
func Kubeconfig(server, ca, token string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: k8srig, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: user, user: {token: %q}}]
contexts: [{name: k8srig, context: {cluster: k8srig, user: user}}]
current-context: k8srig
`, server, ca, token)
}

// start runs a component of Kubernetes.
func (c *ControlPlane) start(name, component string, args ...string) (*Process, error) {
	cmd := exec.Command(c.tools.Kubernetes, append([]string{component}, args...)...)
	cmd.Dir = c.dir
	return Start(name, c.dir, cmd)
}

// StartAPIServer starts the API server, the first time or again, and waits until it is ready.
func (c *ControlPlane) StartAPIServer(ctx context.Context) (err error) {
	certs := filepath.Join(c.dir, "certs")
	args := []string{"--etcd-servers=http://127.0.0.1:2379", "--bind-address=" + c.address, "--advertise-address=" + c.address, "--secure-port=6443",
		"--cert-dir=" + certs, "--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-signing-key-file=" + filepath.Join(certs, "sa.key"),
		"--service-account-key-file=" + filepath.Join(certs, "sa.pub"),
		"--token-auth-file=" + filepath.Join(certs, "tokens.csv"), "--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction", "--service-cluster-ip-range=10.96.0.0/16",
		"--allow-privileged=true", "--kubelet-preferred-address-types=InternalIP", "--profiling=false",
		"--audit-policy-file=" + filepath.Join(c.dir, "audit.yaml"), "--audit-log-path=" + filepath.Join(c.dir, "audit.log")}
	if len(c.features) > 0 {
		args = append(args, "--feature-gates="+strings.Join(c.features, ","))
	}
	if c.apiserver, err = c.start("apiserver", "kube-apiserver", args...); err != nil {
		return err
	}
	return Await(ctx, 2*time.Minute, "start the API server", []*Process{c.etcd, c.apiserver}, func() error {
		_, err := c.Kubectl("get", "--raw", "/readyz")
		return err
	})
}

// APIServer is the API server's process.
func (c *ControlPlane) APIServer() *Process { return c.apiserver }

// StartControllers starts the controllers and the scheduler.
func (c *ControlPlane) StartControllers() error {
	certs := filepath.Join(c.dir, "certs")
	controllers := []string{"--kubeconfig=" + c.Kubeconfig(controller), "--use-service-account-credentials=true",
		"--service-account-private-key-file=" + filepath.Join(certs, "sa.key"), "--root-ca-file=" + c.CA(),
		"--bind-address=127.0.0.1", "--cert-dir=" + certs, "--leader-elect=false", "--flex-volume-plugin-dir=" + filepath.Join(c.dir, "plugins"),
		"--node-monitor-grace-period=5m"} // a kubelet that waits for a CPU is not dead
	if c.pods != "" {
		controllers = append(controllers, "--allocate-node-cidrs=true", "--cluster-cidr="+c.pods)
	}
	for name, args := range map[string][]string{
		"kube-controller-manager": controllers,
		"kube-scheduler": {"--kubeconfig=" + c.Kubeconfig(scheduler), "--bind-address=127.0.0.1", "--cert-dir=" + certs,
			"--leader-elect=false"},
	} {
		p, err := c.start(name, name, args...)
		if err != nil {
			return err
		}
		c.others = append(c.others, p)
	}
	return nil
}

// Requests are those of the user whose requests are written down, as verb, resource and field selector; a watch is one.
func (c *ControlPlane) Requests() ([]string, error) {
	file, err := os.Open(filepath.Join(c.dir, "audit.log"))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var requests []string
	known := map[string]bool{}
	for d := json.NewDecoder(file); ; {
		var event struct {
			AuditID, Verb, RequestURI string
			ObjectRef                 struct{ Resource string }
		}
		if err := d.Decode(&event); errors.Is(err, io.EOF) {
			return requests, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the audit log: %w", err)
		}
		if known[event.AuditID] {
			continue
		}
		known[event.AuditID] = true
		uri, err := url.Parse(event.RequestURI)
		if err != nil {
			return nil, fmt.Errorf("read the audit log: %w", err)
		}
		what := cmp.Or(event.ObjectRef.Resource, event.RequestURI)
		if selector := uri.Query().Get("fieldSelector"); selector != "" {
			what += " " + selector
		}
		requests = append(requests, event.Verb+" "+what)
	}
}

// Kubectl runs kubectl as administrator.
func (c *ControlPlane) Kubectl(args ...string) (string, error) { return c.KubectlInput("", args...) }

// KubectlInput runs kubectl as administrator with that input.
func (c *ControlPlane) KubectlInput(input string, args ...string) (string, error) {
	cmd := exec.Command(c.tools.Kubernetes, append([]string{"kubectl", "--kubeconfig=" + c.Kubeconfig(Admin)}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	return output(cmd)
}

// Helm runs helm.
func (c *ControlPlane) Helm(args ...string) (string, error) {
	return output(exec.Command(c.tools.Kubernetes, append([]string{"helm"}, args...)...))
}

// Stop ends all.
func (c *ControlPlane) Stop() {
	for _, p := range append(c.others, c.apiserver, c.etcd) {
		if p != nil {
			p.Stop()
		}
	}
}

var errNotYet = errors.New("not yet")
