package record

// ServiceEndpoints are how many endpoints of a Service traffic can be sent to.
type ServiceEndpoints struct {
	Ready int `json:"ready"` // in the cluster
	Local int `json:"local"` // of those, on this node
}
