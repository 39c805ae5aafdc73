package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	provenance "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
)

// writeProvenance writes how everything so far was made, as an in-toto statement with SLSA's provenance. When it was made is
// left out: that is the one thing in which two runs differ.
func writeProvenance(r *release, source checkout, image v1.Hash) error {
	files, err := sums(r.output)
	if err != nil {
		return err
	}
	subjects := []*intoto.ResourceDescriptor{{Name: r.imageName(), Digest: map[string]string{image.Algorithm: image.Hex}}}
	for _, f := range files {
		subjects = append(subjects, &intoto.ResourceDescriptor{Name: f.name, Digest: map[string]string{"sha256": f.sha256}})
	}
	parameters, err := structpb.NewStruct(map[string]any{
		"VERSION": r.version, "REGISTRY": r.registry, "DOWNLOADS": r.downloads, "PLATFORMS": strings.Join(r.platforms, " "),
	})
	if err != nil {
		return err
	}
	how := &provenance.Provenance{
		BuildDefinition: &provenance.BuildDefinition{
			BuildType:          "urn:tracer:make-release:v1",
			ExternalParameters: parameters,
			ResolvedDependencies: []*intoto.ResourceDescriptor{
				{Name: "source", Digest: map[string]string{"gitCommit": source.commit}},
				{Name: "go", Uri: "pkg:golang/toolchain@" + runtime.Version()},
			},
		},
		RunDetails: &provenance.RunDetails{Builder: &provenance.Builder{Id: r.builder}},
	}
	if err := how.Validate(); err != nil {
		return fmt.Errorf("provenance: %w", err)
	}
	data, err := protojson.Marshal(how)
	if err != nil {
		return fmt.Errorf("provenance: %w", err)
	}
	predicate := &structpb.Struct{}
	if err := protojson.Unmarshal(data, predicate); err != nil {
		return fmt.Errorf("provenance: %w", err)
	}
	statement := &intoto.Statement{
		Type: intoto.StatementTypeUri, Subject: subjects, PredicateType: "https://slsa.dev/provenance/v1", Predicate: predicate,
	}
	if err := statement.Validate(); err != nil {
		return fmt.Errorf("provenance: %w", err)
	}
	if data, err = protojson.Marshal(statement); err != nil {
		return fmt.Errorf("provenance: %w", err)
	}
	// protojson puts spaces here in one program and there in another.
	var text bytes.Buffer
	if err := json.Indent(&text, data, "", " "); err != nil {
		return fmt.Errorf("provenance: %w", err)
	}
	text.WriteByte('\n')
	return os.WriteFile(r.file("provenance.intoto.json"), text.Bytes(), 0o644)
}
