package agents

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tracer/internal/prometheus"
)

// promSelectors are the labels of Prometheus's own Service, as the operator and the usual charts set them.
var promSelectors = [...]string{"operated-prometheus=true", "app.kubernetes.io/name=prometheus", "app=prometheus,component=server"}

// Prometheus is a server by its URL, by its Service ("svc/NAMESPACE/NAME:PORT", through the API server), or found by its Service's labels
// ("auto").
func (c *Cluster) Prometheus(ctx context.Context, where string) (prometheus.Client, error) {
	if where == "auto" {
		found, err := c.findPrometheus(ctx)
		if err != nil {
			return prometheus.Client{}, err
		}
		where = found
	}
	if name, ok := strings.CutPrefix(where, "svc/"); ok {
		namespace, service, ok := strings.Cut(name, "/")
		if !ok || service == "" {
			return prometheus.Client{}, fmt.Errorf("--prometheus %s: give svc/NAMESPACE/NAME:PORT", where)
		}
		return prometheus.Client{Get: func(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
			request := c.client.CoreV1().RESTClient().Get().Namespace(namespace).Resource("services").Name(service).SubResource("proxy").Suffix(path)
			for key, values := range query {
				request = request.Param(key, values[0])
			}
			body, err := request.Stream(ctx)
			if err != nil {
				return nil, explain("get services/proxy of "+namespace+"/"+service, err)
			}
			return body, nil
		}}, nil
	}
	base, err := url.Parse(where)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return prometheus.Client{}, fmt.Errorf("--prometheus %s: give http://HOST:PORT, svc/NAMESPACE/NAME:PORT, or auto", where)
	}
	return prometheus.Client{Get: func(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
		u := base.JoinPath(path)
		u.RawQuery = query.Encode()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			return nil, err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return nil, err
		}
		if response.StatusCode >= http.StatusBadRequest && !strings.Contains(response.Header.Get("Content-Type"), "json") { // else it says why
			response.Body.Close()
			return nil, errors.New(response.Status)
		}
		return response.Body, nil
	}}, nil
}

// findPrometheus is the only Service that is labelled as its.
func (c *Cluster) findPrometheus(ctx context.Context) (string, error) {
	for _, selector := range promSelectors {
		list, err := c.client.CoreV1().Services(metav1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return "", explain("list services", err)
		}
		var names []string
		for i := range list.Items {
			if s := &list.Items[i]; len(s.Spec.Ports) > 0 {
				names = append(names, fmt.Sprintf("svc/%s/%s:%d", s.Namespace, s.Name, s.Spec.Ports[0].Port))
			}
		}
		switch {
		case len(names) == 1:
			return names[0], nil
		case len(names) > 1:
			return "", fmt.Errorf("--prometheus auto: there are %s: name one", strings.Join(names, ", "))
		}
	}
	return "", errors.New("--prometheus auto: no Service is labelled as Prometheus's: give http://HOST:PORT or svc/NAMESPACE/NAME:PORT")
}
