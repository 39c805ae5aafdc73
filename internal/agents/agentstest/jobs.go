package agentstest

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

const (
	jobsPath = "/apis/batch/v1/namespaces/kube-system/jobs"
	podsPath = "/api/v1/namespaces/kube-system/pods"
)

// ephemeral answers what agents that are started for one command need. It tells whether it did.
func (s *Server) ephemeral(w http.ResponseWriter, r *http.Request) bool {
	if s.Forbidden != "" && r.URL.Path == s.Forbidden {
		return false
	}
	switch path := r.URL.Path; {
	case path == podsPath && r.Method == http.MethodPost && r.URL.Query().Get("dryRun") == "All":
		var pod corev1.Pod
		s.read(r, &pod)
		s.check(&pod)
		s.answer(w, &pod)
	case path == jobsPath && r.Method == http.MethodPost:
		var job batchv1.Job
		s.read(r, &job)
		s.check(&job)
		s.mu.Lock()
		job.Name = fmt.Sprintf("%s%d", job.GenerateName, len(s.Jobs))
		s.Jobs[job.Name] = job
		s.mu.Unlock()
		s.answer(w, &job)
	case path == jobsPath && r.Method == http.MethodDelete:
		s.mu.Lock()
		clear(s.Jobs)
		s.mu.Unlock()
		s.answer(w, &metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusSuccess})
	case path == podsPath && r.Method == http.MethodGet:
		s.answer(w, s.jobPods(r.URL.Query().Get("labelSelector")))
	case strings.HasPrefix(path, podsPath+"/") && strings.HasSuffix(path, "/exec"):
		name := strings.TrimSuffix(strings.TrimPrefix(path, podsPath+"/"), "/exec")
		s.mu.Lock()
		job, ok := s.Jobs[name]
		s.mu.Unlock()
		if !ok {
			http.Error(w, "no such pod", http.StatusNotFound)
			return true
		}
		s.exec(w, r, job.Spec.Template.Spec.NodeName)
	default:
		return false
	}
	return true
}

// check refuses what the API server refuses of an object that is to get its name from it.
func (s *Server) check(o metav1.Object) {
	for _, problem := range validation.NameIsDNSSubdomain(o.GetGenerateName(), true) {
		s.t.Errorf("generateName %q: %s", o.GetGenerateName(), problem)
	}
}

// read decodes an object, as JSON or as protobuf.
func (s *Server) read(r *http.Request, into runtime.Object) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		_, _, err = scheme.Codecs.UniversalDeserializer().Decode(body, nil, into)
	}
	if err != nil {
		s.t.Errorf("read what is sent to %s: %v", r.URL.Path, err)
	}
}

// jobPods are the Jobs' pods with a label.
func (s *Server) jobPods(selector string) *corev1.PodList {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := &corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}}
	key, value, _ := strings.Cut(selector, "=")
	s.listed++
	for name, job := range s.Jobs {
		if job.Labels[key] != value || s.Lists > 0 && s.listed > s.Lists {
			continue
		}
		state := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
		if s.Why != "" && (s.WhyOn == "" || s.WhyOn == job.Spec.Template.Spec.NodeName) {
			state = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: s.Why}}
		}
		if s.Ended != "" {
			state = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", Message: s.Ended}}
		}
		list.Items = append(list.Items, corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "kube-system", Labels: job.Labels}, Spec: job.Spec.Template.Spec,
			Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{Name: "agent", State: state}}},
		})
	}
	return list
}
