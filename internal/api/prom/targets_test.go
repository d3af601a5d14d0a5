package prom

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTogether(t *testing.T) {
	decode := func(text string) (v any) {
		t.Helper()
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	f := func(a, b, want string) {
		t.Helper()
		if d := cmp.Diff(decode(want), together(decode(a), decode(b))); d != "" {
			t.Errorf("%s and %s (-want +got):\n%s", a, b, d)
		}
	}
	f(`null`, `[1]`, `[1]`)
	f(`[1]`, `[2,3]`, `[1,2,3]`)
	f(`[]`, `[]`, `[]`)
	f(`{"activeTargets":[{"a":1}],"droppedTargets":[],"droppedTargetCounts":{"x":1}}`,
		`{"activeTargets":[{"b":1}],"droppedTargets":[{"c":1}],"droppedTargetCounts":{"y":2}}`,
		`{"activeTargets":[{"a":1},{"b":1}],"droppedTargets":[{"c":1}],"droppedTargetCounts":{"x":1,"y":2}}`)
	f(`{"activeTargets":null}`, `{"activeTargets":[1]}`, `{"activeTargets":[1]}`)
	f(`"first"`, `"second"`, `"first"`)
	f(`[1]`, `{}`, `[1]`)
}
