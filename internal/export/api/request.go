package api

// Version is the socket's: answers of one version only gain fields.
const Version = "v1"

// The requests that the socket answers.
const (
	pathStatus    = "/" + Version + "/status"
	pathSnapshot  = "/" + Version + "/snapshot"
	pathDevices   = "/" + Version + "/devices"
	pathDiagnosis = "/" + Version + "/diagnosis"
	pathFindings  = "/" + Version + "/findings"
	pathTrace     = "/" + Version + "/trace"
	pathOverview  = "/" + Version + "/overview"
	pathPath      = "/" + Version + "/path"
	pathIncidents = "/" + Version + "/incidents"
)

// ViewerSocket is where an agent serves viewers, if it is told to: in a directory that holds nothing else, for a pod to mount.
const ViewerSocket = "/run/tracer-viewer/agent.sock"

// queryWindow is the key of a diagnosis's window.
const queryWindow = "window"

// queryMost is the key of how many incidents are listed, queryFrame that of which frame of one is shown.
const (
	queryMost  = "limit"
	queryFrame = "frame"
)

// apiError is the answer to a request that fails.
type apiError struct {
	Error string `json:"error"`
}
