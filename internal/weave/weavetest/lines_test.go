//go:build unix

package weavetest

import (
	"context"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/guanlan-io/guanlan/internal/testkit/otlpsink"
)

// loggers are the aspects that change lines.
var loggers = []string{"logrus", "zap", "zerolog"}

// ids are what they add: in JSON behind something, or the first between braces;
// and in text.
var ids = regexp.MustCompile(`, ?"(?:trace_id|span_id|request_id)": ?"[0-9a-f]{16,32}"|"(?:trace_id|span_id|request_id)": ?"[0-9a-f]{16,32}", ?| (?:trace_id|span_id|request_id)=[0-9a-f]{16,32}`)

// TestLinesHaveNothingButIDsMore compares what samples of loggers print with what
// they print when they are not woven.
func TestLinesHaveNothingButIDsMore(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	t.Setenv("GOWORK", "off")
	t.Setenv("GOFLAGS", "")
	samples, err := Samples(aspects)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range samples {
		if !slices.Contains(loggers, s.Aspect) {
			continue
		}
		t.Run(s.Aspect+"/"+s.Version, func(t *testing.T) {
			want := printed(t, s.Build(t, Plain))
			got := printed(t, s.Build(t, Woven))
			if n := strings.Count(got, "span_id"); n < 5 {
				t.Errorf("%d lines have ids", n)
			}
			if diff := cmp.Diff(want, ids.ReplaceAllString(got, "")); diff != "" {
				t.Errorf("-plain +woven:\n%s", diff)
			}
		})
	}
}

// printed is the standard output of a program.
func printed(t *testing.T, program string) string {
	ctx, cancel := context.WithTimeout(t.Context(), longestRun)
	defer cancel()
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = slices.Concat(environment(), otlpsink.New(t).Env())
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
