package aggregate

// Workloads of peers that are no pods. No workload of Kubernetes begins with an underscore.
const (
	NodeWorkload     = "_node"     // a node's own address
	ExternalWorkload = "_external" // outside of the cluster
	UnknownWorkload  = "_unknown"  // nothing names the address
)
