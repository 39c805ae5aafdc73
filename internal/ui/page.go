package ui

import (
	"bytes"
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

// page serves the page's files. What it is to show stands in the page itself.
func page(cluster bool) http.Handler {
	files, err := fs.Sub(built, "page")
	if err != nil {
		panic(err) // the name is a constant
	}
	of := http.FileServerFS(files)
	if !cluster {
		return of
	}
	index, err := fs.ReadFile(files, "index.html")
	if err != nil {
		panic(err) // it is there
	}
	index = bytes.Replace(index, []byte(`<html `), []byte(`<html data-shows="cluster" `), 1)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			of.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(index)
	})
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
