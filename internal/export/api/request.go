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
)

// queryWindow is the key of a diagnosis's window.
const queryWindow = "window"

// apiError is the answer to a request that fails.
type apiError struct {
	Error string `json:"error"`
}
