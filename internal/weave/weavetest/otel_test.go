//go:build unix

package weavetest

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/guanlan-io/guanlan/internal/weave"
)

// A program keeps OpenTelemetry's own SDK where ours does not run: in tests that
// nobody receives from, where it is off, and where somebody says so.
func TestProgramsOwnSDK(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	t.Setenv("GOWORK", "off")
	t.Setenv("GOFLAGS", "")
	dir := t.TempDir()
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(aspects, "otel", "sample", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const program = `package app

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

var early = otel.Tracer("early")

func TestSpans(t *testing.T) {
	got := tracetest.NewSpanRecorder()
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(got)))
	ctx, outer := early.Start(context.Background(), "outer")
	_, inner := otel.Tracer("late").Start(ctx, "inner")
	inner.End()
	outer.End()
	if n := len(got.Ended()); n != 2 || got.Ended()[0].Parent().SpanID() != outer.SpanContext().SpanID() {
		t.Errorf("it has recorded %d spans", n)
	}
}
`
	if err := os.WriteFile(filepath.Join(dir, "app_test.go"), []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, env := range []map[string]string{
		{},
		{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "GUANLAN_OTEL_SDK": "keep"},
	} {
		for _, name := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SDK_DISABLED", "GUANLAN_OTEL_SDK"} {
			t.Setenv(name, env[name])
		}
		var out bytes.Buffer
		w := weave.Weaver{Dir: dir, Strict: true, Stdout: &out, Stderr: &out}
		if code, err := w.Run(t.Context(), "test", []string{"-count=1", "."}); code != 0 || err != nil {
			t.Errorf("%v: code %d, %v\n%s", env, code, err, &out)
		}
	}
}
