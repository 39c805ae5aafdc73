package diagnose

import (
	"strings"

	"tracer/internal/record"
)

// ruleOwner is who made a rule, by what others call their tables and chains; "" if nothing tells.
func ruleOwner(r *record.Rule) string {
	switch {
	case r.Table == "kube-proxy":
		return "kube-proxy"
	case r.Table == "firewalld":
		return "firewalld"
	case strings.Contains(r.Comment, "cali:"):
		return "Calico"
	}
	for _, owner := range []struct{ prefix, name string }{
		{"KUBE-POD-FW-", "kube-router"}, {"KUBE-NWPLCY", "kube-router"}, {"KUBE-ROUTER", "kube-router"}, // before kube-proxy's
		{"KUBE-", "kube-proxy or the kubelet"}, {"cali-", "Calico"}, {"CILIUM_", "Cilium"}, {"WEAVE-", "Weave Net"}, {"ANTREA-", "Antrea"},
		{"FLANNEL-", "flannel"}, {"CNI-", "a CNI plugin"}, {"DOCKER", "Docker"}, {"NETAVARK", "Podman"}, {"ISTIO_", "Istio"}, {"LIBVIRT_", "libvirt"},
		{"ufw-", "ufw"}, {"ufw6-", "ufw"}, {"f2b-", "fail2ban"}, {"filter_IN_", "firewalld"}, {"filter_FWD", "firewalld"}, {"IN_", "firewalld"}, {"FWD_", "firewalld"},
		{"kube-network-policies", "kube-network-policies"}, {"crowdsec", "CrowdSec"}, {"ts-", "Tailscale"},
	} {
		if strings.HasPrefix(r.Chain, owner.prefix) || strings.HasPrefix(r.Table, owner.prefix) {
			return owner.name
		}
	}
	return ""
}

// enforcesPolicies tells whether a maker of rules makes them of Kubernetes' network policies.
func enforcesPolicies(owner string) bool {
	switch owner {
	case "Calico", "Cilium", "kube-router", "Weave Net", "Antrea", "kube-network-policies":
		return true
	}
	return false
}

// withoutEndpoints is the Service for want of whose endpoints kube-proxy made a rule, and whether it is only on this node that there are
// none; "" for another rule.
func withoutEndpoints(r *record.Rule) (service string, local bool) {
	if r.Map != "" { // of its nftables mode
		return r.Comment, r.Verdict == record.VerdictDrop
	}
	if service, ok := strings.CutSuffix(r.Comment, " has no endpoints"); ok {
		return service, false
	}
	if service, ok := strings.CutSuffix(r.Comment, " has no local endpoints"); ok {
		return service, true
	}
	return "", false
}
