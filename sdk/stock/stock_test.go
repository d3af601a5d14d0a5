//go:build guanlan_stock

package stock_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/guanlan-io/guanlan/sdk"
)

const provider = "*trace.TracerProvider"

// OpenTelemetry's exporters for gRPC are not here: what was asked for is not
// sent by another protocol.
func TestGRPC(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc")
	s, err := sdk.Start(t.Context(), sdk.Options{Endpoint: "http://127.0.0.1:1", Failed: func(error) {}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	defer s.Shutdown(ctx)
	if err == nil || !strings.Contains(err.Error(), "Guanlan's is used") {
		t.Errorf("error %v", err)
	}
	if got := fmt.Sprintf("%T", s.TracerProvider()); got != "*sdk.TracerProvider" {
		t.Errorf("spans are made by %s", got)
	}
}
