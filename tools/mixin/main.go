// Command mixin writes what a monitoring stack needs to watch the agents: alerts and recording rules for Prometheus, and dashboards for
// Grafana. They are committed in the chart; -check says whether they are as this program writes them.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	dir := flag.String("dir", "../../deploy/helm/tracer/mixin", "where the files are, by default from this folder")
	check := flag.Bool("check", false, "compare the files, and write none")
	flag.Parse()
	if err := run(*dir, *check); err != nil {
		fmt.Fprintln(os.Stderr, "mixin:", err)
		os.Exit(1)
	}
}

func run(dir string, check bool) error {
	files, err := generate()
	if err != nil {
		return err
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if check {
			there, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if !bytes.Equal(there, text) {
				return fmt.Errorf("%s is not what tools/mixin writes: run 'make mixin' and commit the result", path)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generate is each file by its name.
func generate() (map[string][]byte, error) {
	rules, err := rulesFile()
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{"rules.yaml": rules}
	for _, b := range boards() {
		if files["dashboards/"+b.uid+".json"], err = b.json(); err != nil {
			return nil, err
		}
	}
	return files, nil
}
