// Package otlpgrpc sends what the SDK exports as OTLP over gRPC. Importing it is
// all:
//
//	import _ "github.com/guanlan-io/guanlan/sdk/otlpgrpc"
//
// From then on OTEL_EXPORTER_OTLP_PROTOCOL=grpc, or the protocol grpc of
// sdk.Options, works. Endpoints are URLs: http://collector:4317 is without TLS,
// https:// with it; what stands without a scheme is https unless
// OTEL_EXPORTER_OTLP_INSECURE is true.
//
// Choose HTTP where you can: it needs nothing but the standard library, and
// receivers listen to it on port 4318.
package otlpgrpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
)

func init() {
	sdk.RegisterGRPC(func(signal string, opts core.SenderOptions) (sdk.Sender, error) { return NewSender(signal, opts) })
}

// methods of the collector's services, by signal.
// Source: opentelemetry-proto 1.9, collector/*/v1.
var methods = map[string]string{
	"traces":  "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
	"metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
	"logs":    "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}

// Sender sends the export requests of one signal, which are encoded already. It
// has a connection of its own, made when it is first needed. It tries again what
// a receiver may be able to take later, as core.Sender does.
// Source: OTLP specification 1.9, "OTLP/gRPC Response".
type Sender struct {
	conn   *grpc.ClientConn
	method string
	opts   core.SenderOptions
	header metadata.MD
	calls  []grpc.CallOption
}

const (
	// longestConnect bounds the pauses between attempts to connect, so that
	// a receiver that is back is found soon. gRPC's own are up to 2 min.
	longestConnect = 15 * time.Second
	// gzipLevel is the fastest: the receiver is near, CPU is the service's.
	gzipLevel = 1
)

// NewSender makes the sender of a signal: traces, metrics or logs. Of the URL,
// scheme, host and port count. Of the options' Client, TLSClientConfig of its
// http.Transport is used, for authorities and certificates of one's own; else
// TLS.
func NewSender(signal string, opts core.SenderOptions) (*Sender, error) {
	method := methods[signal]
	if method == "" {
		return nil, fmt.Errorf("OTLP over gRPC: signal %q: want traces, metrics or logs", signal)
	}
	u, err := url.Parse(opts.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("OTLP endpoint of %s: want a URL as http://host:4317", signal) // it may hold a password: it is not told
	}
	target := u.Host
	if u.Port() == "" {
		target += ":4317"
	}
	if opts.Timeout <= 0 {
		opts.Timeout = core.DefaultTimeout
	}
	if opts.GiveUp <= 0 {
		opts.GiveUp = core.DefaultGiveUp
	}
	creds := insecure.NewCredentials()
	if u.Scheme == "https" {
		creds = credentials.NewTLS(tlsConfig(&opts))
	}
	connect := backoff.DefaultConfig
	connect.MaxDelay = longestConnect
	dial := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithUserAgent("Guanlan-SDK-Go"),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: connect}),
		grpc.WithDisableRetry(), // Send does that, and for longer
		grpc.WithDisableServiceConfig(),
	}
	if opts.Gzip {
		// What replaces these registers a compressor for the whole process,
		// servers included; gRPC promises to keep them throughout 1.x.
		//lint:ignore SA1019 see above
		zip, err := grpc.NewGZIPCompressorWithLevel(gzipLevel)
		if err != nil {
			return nil, fmt.Errorf("OTLP over gRPC: %w", err)
		}
		//lint:ignore SA1019 see above
		dial = append(dial, grpc.WithCompressor(zip), grpc.WithDecompressor(grpc.NewGZIPDecompressor()))
	}
	conn, err := grpc.NewClient(target, dial...)
	if err != nil {
		return nil, fmt.Errorf("OTLP endpoint %s: %w", target, err)
	}
	return &Sender{conn: conn, method: method, opts: opts, header: metadata.New(opts.Headers), calls: []grpc.CallOption{grpc.ForceCodecV2(passing{})}}, nil
}

func tlsConfig(opts *core.SenderOptions) *tls.Config {
	if c := opts.Client; c != nil {
		if t, ok := c.Transport.(*http.Transport); ok && t.TLSClientConfig != nil {
			return t.TLSClientConfig.Clone()
		}
	}
	if opts.TLS != nil {
		return opts.TLS.Clone()
	}
	return &tls.Config{}
}

// Send implements sdk.Sender.
func (s *Sender) Send(ctx context.Context, body []byte, _ int) (rejected int, err error) {
	ctx = metadata.NewOutgoingContext(ctx, s.header)
	return core.Retry(ctx, s.opts.GiveUp, func(ctx context.Context) (int, error) {
		ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
		defer cancel()
		var answer []byte
		if err := s.conn.Invoke(ctx, s.method, body, &answer, s.calls...); err != nil {
			return 0, s.refused(err)
		}
		return core.RejectedItems(answer), nil
	})
}

// Close ends the connection, and requests that are under way.
func (s *Sender) Close() error { return s.conn.Close() }

// refused says whether to try again.
func (s *Sender) refused(err error) error {
	st := status.Convert(err)
	after, asked := retryAfter(st)
	err = fmt.Errorf("export to %s: %s: %q", s.conn.Target(), st.Code(), cut(st.Message()))
	if s.conn.GetState() == connectivity.Shutdown {
		return err
	}
	switch st.Code() {
	case codes.ResourceExhausted: // only when the receiver says that it recovers
		if !asked {
			return err
		}
	case codes.Canceled, codes.DeadlineExceeded, codes.Aborted, codes.OutOfRange, codes.Unavailable, codes.DataLoss:
	default:
		return err
	}
	return &core.Retryable{Err: err, After: after}
}

// retryAfter is what a receiver asks for.
func retryAfter(st *status.Status) (after time.Duration, asked bool) {
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.RetryInfo); ok {
			return max(info.GetRetryDelay().AsDuration(), 0), true
		}
	}
	return 0, false
}

// maxReason is how much is told of what a receiver says.
const maxReason = 256

func cut(s string) string { return s[:min(len(s), maxReason)] }

// passing is a codec for what is encoded already, under protobuf's name.
type passing struct{}

// Name implements encoding.CodecV2.
func (passing) Name() string { return "proto" }

// Marshal implements encoding.CodecV2. It copies: gRPC may still be writing when
// a call has been given up, and the body is the caller's again then.
func (passing) Marshal(v any) (mem.BufferSlice, error) {
	body, ok := v.([]byte)
	if !ok {
		return nil, errors.New("BUG: a request that is not bytes")
	}
	return mem.BufferSlice{mem.Copy(body, mem.DefaultBufferPool())}, nil
}

// Unmarshal implements encoding.CodecV2.
func (passing) Unmarshal(data mem.BufferSlice, v any) error {
	answer, ok := v.(*[]byte)
	if !ok {
		return errors.New("BUG: an answer that is not bytes")
	}
	*answer = data.Materialize()
	return nil
}
