package api

import (
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"tracer/internal/diagnose"
	"tracer/internal/overview"
	"tracer/internal/pairpath"
	"tracer/internal/trace"
)

var updateFields = flag.Bool("update-fields", false, "write testdata/v1-fields.txt anew, as a release does")

// TestFields: what answers of /v1/ had in the release before, they have: commands of that release find each field that they know, of
// the same kind. New fields come into the list with the next release.
func TestFields(t *testing.T) {
	t.Parallel()
	var now []string
	for name, answer := range map[string]any{
		"status": new(Status), "diagnosis": new(diagnose.Report), "findings": new(ActiveFindings), "path": new(pairpath.Half),
		"trace": new(trace.Trace), "overview": new(overview.Overview),
	} {
		fill(reflect.ValueOf(answer).Elem(), 0)
		text, err := json.Marshal(answer)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var read any
		if err := json.Unmarshal(text, &read); err != nil {
			t.Fatal(err)
		}
		now = append(now, fields(name, read)...)
	}
	slices.Sort(now)
	now = slices.Compact(now)
	now = slices.DeleteFunc(now, func(line string) bool { return strings.Contains(line, "children[].children") }) // as those above
	const file = "testdata/v1-fields.txt"
	if *updateFields {
		if err := os.WriteFile(file, []byte(strings.Join(now, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(before)) {
		if line = strings.TrimSuffix(line, "\n"); !slices.Contains(now, line) {
			t.Errorf("an answer has no longer the field that commands of the release before know: %s", line)
		}
	}
}

// fields are all fields of an answer below a path, each with the kind of its JSON.
func fields(path string, answer any) (all []string) {
	switch v := answer.(type) {
	case map[string]any:
		for name, value := range v {
			all = append(all, fields(path+"."+name, value)...)
		}
		return all
	case []any:
		for _, value := range v {
			all = append(all, fields(path+"[]", value)...)
		}
		return all
	case string:
		return []string{path + " string"}
	case bool:
		return []string{path + " bool"}
	case nil:
		return []string{path + " null"}
	default:
		return []string{path + " number"}
	}
}

// fill sets everything that can be set to something that is not its zero value.
func fill(v reflect.Value, depth int) {
	if depth > 12 { // of what has itself inside
		return
	}
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(1790000000, 0).UTC()))
		return
	case netip.Addr:
		v.Set(reflect.ValueOf(netip.MustParseAddr("10.0.0.1")))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(v.Field(i), depth+1)
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), depth+1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), depth+1)
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), depth+1)
		}
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, depth+1)
		fill(value, depth+1)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(0.5)
	}
}
