// Package auto starts the SDK by being imported:
//
//	import _ "github.com/guanlan-io/guanlan/sdk/auto"
//
// It is configured by the standard OTEL_ variables of the environment. Traces,
// metrics and logs go out over OTLP; log/slog and log write JSON lines with the
// ids of the span; requests of http.DefaultClient, and plain ones of every
// client that uses http.DefaultTransport, are traced. Servers and libraries
// still need their line each, as sdk.Handler does for HTTP.
//
// On Linux, SIGTERM and SIGINT flush before they do what they would have done
// otherwise. A program that ends by itself, by returning from main or by
// os.Exit, must call sdk.Shutdown: Go has no way to be told of that.
//
// With OTEL_SDK_DISABLED=true it does nothing.
package auto

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/internal/exit"
)

// lastWord bounds the flush at a signal: a receiver that does not answer must not
// keep a process from ending.
const lastWord = 2 * time.Second

func init() {
	s, err := sdk.Start(context.Background(), sdk.Options{})
	if !s.Enabled() {
		if err != nil {
			slog.Error("telemetry is off", "error", err)
		}
		return
	}
	slog.SetDefault(slog.New(s.LogHandler(nil)))
	if err != nil {
		slog.Warn("a part of the telemetry's configuration is not used", "error", err)
	}
	traceDefaults(s)
	exit.AtSignals(func() {
		ctx, cancel := context.WithTimeout(context.Background(), lastWord)
		defer cancel()
		_ = s.Flush(ctx) // what failed is counted, and nobody can do anything about it now
	})
}

// traceDefaults traces what net/http offers by default. http.DefaultTransport
// must stay the *http.Transport that programs take it for, so it cannot be
// wrapped; but it asks whoever is registered for a scheme. For https that is
// its own HTTP/2, so there only the default client is traced.
func traceDefaults(s *sdk.SDK) {
	if t, ok := http.DefaultTransport.(*http.Transport); ok {
		register(t, s.HTTPClient().Scheme(t))
	}
	if http.DefaultClient.Transport == nil {
		http.DefaultClient.Transport = s.HTTPClient().Transport(latest{})
	}
}

// register does nothing when somebody has the scheme already, which
// RegisterProtocol panics at.
func register(t *http.Transport, rt http.RoundTripper) {
	defer func() { _ = recover() }()
	t.RegisterProtocol("http", rt)
}

// latest is http.DefaultTransport, whatever it is by then.
type latest struct{}

// RoundTrip implements http.RoundTripper.
func (latest) RoundTrip(r *http.Request) (*http.Response, error) {
	return http.DefaultTransport.RoundTrip(r)
}

// CloseIdleConnections is for http.Client.
func (latest) CloseIdleConnections() {
	if t, ok := http.DefaultTransport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}
