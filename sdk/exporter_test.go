package sdk

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// A signal whose exporter is none is not sent; the others are.
func TestExporterNone(t *testing.T) {
	paths := map[string]string{"OTEL_TRACES_EXPORTER": "/v1/traces", "OTEL_METRICS_EXPORTER": "/v1/metrics", "OTEL_LOGS_EXPORTER": "/v1/logs"}
	for off := range paths {
		t.Run(off, func(t *testing.T) {
			for variable := range paths {
				t.Setenv(variable, "otlp")
			}
			t.Setenv(off, "none")
			s, sink := start(t, Options{Sampler: core.NewByThreshold(1)})
			var out strings.Builder
			h := s.HTTPServer().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				slog.New(s.LogHandler(nil)).InfoContext(r.Context(), "hello")
				header := http.Header{}
				Propagator{}.Inject(r.Context(), propagation.HeaderCarrier(header))
				fmt.Fprint(&out, header.Get("Traceparent"))
			}))
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
			if err := s.Flush(t.Context()); err != nil {
				t.Error(err)
			}
			st := s.Stats()
			if lost := st.Spans.Full + st.Logs.Full; lost > 0 {
				t.Errorf("%d items count as lost", lost)
			}
			got := sent(t, s, sink)
			for variable, path := range paths {
				if _, ok := got[path]; ok != (variable != off) {
					t.Errorf("that %s was asked is %v", path, ok)
				}
			}
			if !strings.HasSuffix(out.String(), "-01") && !strings.HasSuffix(out.String(), "-03") {
				t.Errorf("whoever is called hears of %q, want a sampled trace", out.String())
			}
		})
	}
	for value, wrong := range map[string]bool{"otlp": false, "none": false, "": false, "console": true, "otlp,prometheus": true} {
		c, err := configure(Options{}, func(k string) string { return map[string]string{"OTEL_METRICS_EXPORTER": value}[k] })
		if (err != nil) != wrong || wrong && !strings.Contains(err.Error(), "otlp is used") || c.metrics.none != (value == "none") {
			t.Errorf("%q: none %v, error %v", value, c.metrics.none, err)
		}
	}
}

// certificate makes one, signed by itself, with its key.
func certificate(t *testing.T, dir, name string) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	writePEM(t, cert, "CERTIFICATE", der)
	writePEM(t, key, "PRIVATE KEY", keyDER)
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AddCert(parsed)
	return cert, key, pool
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A receiver with an authority of its own, that wants a certificate.
func TestExporterCertificates(t *testing.T) {
	dir := t.TempDir()
	cert, key, clients := certificate(t, dir, "client")
	var spans atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/v1/traces" && r.TLS.PeerCertificates[0].Subject.CommonName == "client" {
			spans.Add(1)
		}
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	server.Config.ErrorLog = discardLog()
	server.StartTLS()
	defer server.Close()
	authority := filepath.Join(dir, "ca.crt")
	writePEM(t, authority, "CERTIFICATE", server.Certificate().Raw)
	const base = "OTEL_EXPORTER_OTLP_"
	t.Setenv(base+"CERTIFICATE", filepath.Join(dir, "client.crt")) // of no use: that of traces comes before
	t.Setenv(base+"TRACES_CERTIFICATE", authority)
	t.Setenv(base+"METRICS_CERTIFICATE", authority)
	t.Setenv(base+"CLIENT_CERTIFICATE", cert)
	t.Setenv(base+"CLIENT_KEY", key)
	s, err := Start(t.Context(), Options{Endpoint: server.URL, Sampler: core.NewByThreshold(1), Failed: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	_, span := s.TracerProvider().Tracer("t").Start(t.Context(), "n")
	span.End()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil || spans.Load() != 1 {
		t.Errorf("error %v, %d requests came with the certificate, want 1", err, spans.Load())
	}
	for _, env := range []map[string]string{
		{"CERTIFICATE": filepath.Join(dir, "nowhere")}, {"CERTIFICATE": key},
		{"CLIENT_KEY": key}, {"LOGS_CLIENT_CERTIFICATE": cert}, {"CLIENT_KEY": cert, "CLIENT_CERTIFICATE": key},
	} {
		c, err := configure(Options{}, func(k string) string { return env[strings.TrimPrefix(k, base)] })
		if err == nil || !strings.Contains(err.Error(), base) || c.logs.TLS != nil {
			t.Errorf("%v: error %v, TLS %v", env, err, c.logs.TLS)
		}
	}
}

func TestPropagators(t *testing.T) {
	for value, want := range map[string]struct {
		trace, baggage bool
		wrong          string
	}{
		"":                     {true, true, ""},
		"baggage,tracecontext": {true, true, ""},
		"tracecontext":         {true, false, ""},
		"baggage":              {false, true, ""},
		"none":                 {false, false, ""},
		"b3":                   {true, true, "what is used is tracecontext,baggage"},
		"b3multi,tracecontext": {true, false, "what is used is tracecontext"},
	} {
		t.Run(value, func(t *testing.T) {
			t.Setenv("OTEL_PROPAGATORS", value)
			s, err := Start(t.Context(), Options{Endpoint: newSink(t).URL, Sampler: core.NewByThreshold(1), Failed: func(err error) { t.Error(err) }})
			if (err != nil) != (want.wrong != "") || err != nil && !strings.Contains(err.Error(), want.wrong) {
				t.Errorf("error %v, want %q", err, want.wrong)
			}
			defer func() { _ = s.Shutdown(t.Context()) }()
			const id = "0af7651916cd43dd8448eb211c80319c"
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Traceparent", "00-"+id+"-b7ad6b7169203331-01")
			r.Header.Set("Baggage", "tenant=a")
			var out http.Header
			s.HTTPServer().Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if got := baggage.FromContext(r.Context()).Member("tenant").Value(); (got != "") != want.baggage {
					t.Errorf("the baggage that came is %q", got)
				}
				b, _ := baggage.Parse("mine=1")
				out = http.Header{}
				Propagator{}.Inject(baggage.ContextWithBaggage(r.Context(), b), propagation.HeaderCarrier(out))
			})).ServeHTTP(httptest.NewRecorder(), r)
			if got := out.Get("Traceparent"); (got != "") != want.trace || want.trace && !strings.Contains(got, id) {
				t.Errorf("traceparent %q goes on", got)
			}
			if got := out.Get("Baggage"); (got != "") != want.baggage {
				t.Errorf("baggage %q goes on", got)
			}
			if out.Get("X-Request-Id") == "" {
				t.Error("the request id does not go on")
			}
			fields := strings.Join(Propagator{}.Fields(), " ")
			if strings.Contains(fields, "traceparent") != want.trace || strings.Contains(fields, "baggage") != want.baggage {
				t.Errorf("fields %s", fields)
			}
		})
	}
}
