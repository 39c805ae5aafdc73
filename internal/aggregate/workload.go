package aggregate

// The workloads of peers that are no pods. No workload of Kubernetes begins with an underscore.
const (
	NodeWorkload     = "_node"     // a node's own address
	ExternalWorkload = "_external" // outside of the cluster
	UnknownWorkload  = "_unknown"  // nothing names the address
	OtherWorkload    = "_other"    // all pairs together for which there was no room
)

// workload is who is behind an address, in a pair.
func workload(id Identity) string {
	if id.Workload == "" {
		return UnknownWorkload
	}
	return id.Workload
}
