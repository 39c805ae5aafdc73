package ui

import (
	"embed"
	"io"
	"io/fs"
	"net/http"

	"tracer/docs"
)

// built is what make ui makes of ui/.
//
//go:embed page
var built embed.FS

// page serves the page's files.
func page() http.Handler {
	files, err := fs.Sub(built, "page")
	if err != nil {
		panic(err) // the name is a constant
	}
	return http.FileServerFS(files)
}

// cause serves a cause's page as Markdown.
func cause(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	text, err := docs.Cause(name)
	if err != nil || name == "README" {
		refuse(w, http.StatusNotFound, "there is no cause of that name")
		return
	}
	w.Header().Set("Content-Type", "text/markdown; charset=utf-8")
	_, _ = io.WriteString(w, text)
}
