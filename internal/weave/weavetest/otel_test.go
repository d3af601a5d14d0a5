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
// nobody receives from, where it is off, and where somebody says so. Its baggage
// remains what it is.
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
	"reflect"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/baggage"
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

func TestBaggage(t *testing.T) {
	odd, err := baggage.NewMemberRaw("ключ", "v;, =%")
	if err != nil {
		t.Fatal(err)
	}
	p, err := baggage.NewKeyValuePropertyRaw("p", "1 2")
	if err != nil {
		t.Fatal(err)
	}
	flag, err := baggage.NewKeyProperty("flag")
	if err != nil {
		t.Fatal(err)
	}
	plain, err := baggage.NewMemberRaw("k", "v", p, flag)
	if err != nil {
		t.Fatal(err)
	}
	want, err := baggage.New(odd, plain)
	if err != nil {
		t.Fatal(err)
	}
	ctx := baggage.ContextWithBaggage(context.Background(), want)
	if got := baggage.FromContext(ctx); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if n := baggage.FromContext(baggage.ContextWithoutBaggage(ctx)).Len(); n != 0 {
		t.Errorf("%d members are left", n)
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
