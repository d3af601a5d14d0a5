package api

import (
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite testdata/openapi.json")

// TestOpenAPI freezes the API: the UI's types are generated from the file.
func TestOpenAPI(t *testing.T) {
	const file = "testdata/openapi.json"
	_, got := newMux(Options{})
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("the API changed; run go test ./internal/api -run OpenAPI -update and review (-want +got):\n%s", diff)
	}
}
