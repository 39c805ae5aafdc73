// Package workload names the workload that a pod belongs to.
package workload

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Of is the owner of a pod as people name it.
func Of(p *corev1.Pod) string {
	owner := metav1.GetControllerOfNoCopy(p)
	if owner == nil {
		return p.Name
	}
	switch owner.Kind {
	case "ReplicaSet":
		for _, key := range []string{"pod-template-hash", "rollouts-pod-template-hash"} {
			if hash := p.Labels[key]; hash != "" {
				if name, ok := strings.CutSuffix(owner.Name, "-"+hash); ok && name != "" {
					return name
				}
			}
		}
	case "Job":
		return cronJobOf(owner.Name)
	case "Node": // a static pod's mirror
		if name, ok := strings.CutSuffix(p.Name, "-"+owner.Name); ok && name != "" {
			return name
		}
		return p.Name
	}
	return owner.Name
}

// scheduledJob is the name that a CronJob gives: its own, and the scheduled time in minutes, before 1.21 in seconds.
var scheduledJob = regexp.MustCompile(`^(.+)-(\d{8}|\d{10})$`)

// cronJobOf is the CronJob that made a Job, or else the Job itself. A number that is no time since 2015 is part of the
// name, like 20240131.
func cronJobOf(job string) string {
	m := scheduledJob.FindStringSubmatch(job)
	if m == nil {
		return job
	}
	n, err := strconv.ParseInt(m[2], 10, 64)
	if err != nil {
		return job
	}
	if len(m[2]) == 8 {
		n *= 60
	}
	first := time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	if n < first {
		return job
	}
	return m[1]
}
