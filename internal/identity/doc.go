// Package identity names addresses: which pod, Service or node had an address at a given time. The names come from the
// Kubernetes API server (Kubernetes), or from a file (Table). Networks name CIDRs outside of the cluster.
package identity
