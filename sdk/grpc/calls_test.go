package sdkgrpc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/baggage"
	tracecollector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/guanlan-io/guanlan/sdk"
)

// Before an SDK is started calls pass as they are.
func TestAWithoutSDK(t *testing.T) {
	if sdk.Default() != nil {
		t.Skip("an SDK was started: it can be tested once in a process, and was")
	}
	c, _, _ := pair(t, &service{unary: func(ctx context.Context) error {
		if md, _ := metadata.FromIncomingContext(ctx); len(md["traceparent"]) > 0 {
			t.Errorf("metadata %v", md)
		}
		return nil
	}})
	if _, err := c.UnaryCall(t.Context(), &testpb.SimpleRequest{}); err != nil {
		t.Error(err)
	}
}

func TestFourKinds(t *testing.T) {
	got := start(t, 1)
	c, cc, stop := pair(t, &service{})
	ctx := t.Context()
	if _, err := c.UnaryCall(ctx, &testpb.SimpleRequest{}); err != nil {
		t.Error(err)
	}
	in, err := c.StreamingInputCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := in.Send(&testpb.StreamingInputCallRequest{}); err != nil {
			t.Error(err)
		}
	}
	if r, err := in.CloseAndRecv(); err != nil || r.AggregatedPayloadSize != 3 {
		t.Errorf("got %v, error %v", r, err)
	}
	out, err := c.StreamingOutputCall(ctx, &testpb.StreamingOutputCallRequest{ResponseParameters: make([]*testpb.ResponseParameters, 2)})
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = out.Recv()
	}
	if !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	duplex, err := c.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(duplex.Send(&testpb.StreamingOutputCallRequest{}), second(duplex.Recv()), duplex.CloseSend()); err != nil {
		t.Error(err)
	}
	if _, err := duplex.Recv(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	stop()
	r := got()
	host, port, _ := net.SplitHostPort(cc.Target())
	for _, method := range []string{"UnaryCall", "StreamingInputCall", "StreamingOutputCall", "FullDuplexCall"} {
		name := "grpc.testing.TestService/" + method
		var ends [2]*tracepb.Span
		for _, s := range r.spans {
			if s.Name == name {
				ends[map[tracepb.Span_SpanKind]int{serverSide: 0, clientSide: 1}[s.Kind]] = s
			}
		}
		if ends[0] == nil || ends[1] == nil {
			t.Errorf("%s: spans %v, want one of each side", method, ends)
			continue
		}
		if !bytes.Equal(ends[0].ParentSpanId, ends[1].SpanId) || !bytes.Equal(ends[0].TraceId, ends[1].TraceId) {
			t.Errorf("%s: the server's span is not the child of the client's", method)
		}
		for i, want := range []map[string]string{
			{"rpc.system.name": "grpc", "rpc.method": name, "rpc.response.status_code": "OK", "network.peer.address": host},
			{"rpc.system.name": "grpc", "rpc.method": name, "rpc.response.status_code": "OK", "network.peer.address": host, "server.address": host, "server.port": "int_value:" + port, "network.peer.port": "int_value:" + port},
		} {
			a := attributes(ends[i].Attributes)
			if i == 0 {
				delete(a, "network.peer.port")
			}
			if !maps.Equal(a, want) {
				t.Errorf("%s, %v: attributes %v, want %v", method, ends[i].Kind, a, want)
			}
			if ends[i].Status.GetCode() != 0 {
				t.Errorf("%s: status %v", method, ends[i].Status)
			}
		}
		for _, metric := range []string{"rpc.server.call.duration", "rpc.client.call.duration"} {
			if n := r.counts[metric+" "+name+" OK"]; n != 1 {
				t.Errorf("%s of %s counts %d, want 1", metric, name, n)
			}
		}
	}
	if len(r.spans) != 8 {
		t.Errorf("%d spans, want 8", len(r.spans))
	}
}

// Every code of gRPC; what has failed is kept though nothing is sampled.
func TestCodes(t *testing.T) {
	for code := codes.OK; code <= codes.Unauthenticated; code++ {
		t.Run(code.String(), func(t *testing.T) {
			got := start(t, 0)
			c, _, stop := pair(t, &service{})
			_, err := c.UnaryCall(t.Context(), &testpb.SimpleRequest{ResponseStatus: &testpb.EchoStatus{Code: int32(code), Message: "so it is"}})
			if status.Code(err) != code {
				t.Error(err)
			}
			stop()
			r := got()
			serverFails := slices.Contains([]codes.Code{codes.Unknown, codes.DeadlineExceeded, codes.Unimplemented, codes.Internal, codes.Unavailable, codes.DataLoss}, code)
			for kind, fails := range map[tracepb.Span_SpanKind]bool{serverSide: serverFails, clientSide: code != codes.OK} {
				spans := r.of(kind)
				if (len(spans) == 1) != fails {
					t.Errorf("%v: %d spans, failed is %v", kind, len(spans), fails)
					continue
				}
				if !fails {
					continue
				}
				a := attributes(spans[0].Attributes)
				if a["error.type"] != codeNames[code] || a["rpc.response.status_code"] != codeNames[code] || a["rpc.method"] == "" || a["network.peer.address"] == "" ||
					spans[0].Status.Code != tracepb.Status_STATUS_CODE_ERROR || spans[0].Status.Message != "so it is" {
					t.Errorf("%v: %v", kind, spans[0])
				}
			}
			suffix := " grpc.testing.TestService/UnaryCall " + codeNames[code]
			for side, fails := range map[string]bool{"server": serverFails, "client": code != codes.OK} {
				want := "rpc." + side + ".call.duration" + suffix
				if fails {
					want += " " + codeNames[code]
				}
				if r.counts[want] != 1 {
					t.Errorf("counts %v, want 1 of %s", r.counts, want)
				}
			}
		})
	}
}

func TestOutcome(t *testing.T) {
	for err, want := range map[error]codes.Code{
		context.Canceled: codes.Canceled, context.DeadlineExceeded: codes.DeadlineExceeded, io.EOF: codes.Unknown,
		status.Error(77, "x"): codes.Unknown, errors.Join(errors.New("a"), status.Error(codes.NotFound, "b")): codes.NotFound, wrapped{status.Error(codes.NotFound, "b")}: codes.NotFound,
	} {
		if got, _ := outcome(err); got != want {
			t.Errorf("%v is %v, want %v", err, got, want)
		}
	}
}

type wrapped struct{ error }

func (w wrapped) Unwrap() error { return w.error }

// Streams end in many ways, and each ends both spans once.
func TestEndsOfStreams(t *testing.T) {
	const method = "grpc.testing.TestService/FullDuplexCall"
	untilDone := func(s grpc.ServerStream) error { <-s.Context().Done(); return s.Context().Err() }
	for name, test := range map[string]struct {
		duplex         func(grpc.ServerStream) error
		run            func(t *testing.T, stream grpc.BidiStreamingClient[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse], cancel, stop func(), cc *grpc.ClientConn)
		server, client string // codes
	}{
		"the server returns": {
			func(grpc.ServerStream) error { return nil },
			func(t *testing.T, s grpc.BidiStreamingClient[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse], _, _ func(), _ *grpc.ClientConn) {
				if _, err := s.Recv(); !errors.Is(err, io.EOF) {
					t.Error(err)
				}
				for range 3 { // whoever goes on asking
					_, _ = s.Recv()
				}
			}, "OK", "OK",
		},
		"the server fails": {
			func(grpc.ServerStream) error { return status.Error(codes.DataLoss, "gone") },
			func(t *testing.T, s grpc.BidiStreamingClient[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse], _, _ func(), _ *grpc.ClientConn) {
				if _, err := s.Recv(); status.Code(err) != codes.DataLoss {
					t.Error(err)
				}
			}, "DATA_LOSS", "DATA_LOSS",
		},
		"the client cancels": {
			untilDone,
			func(_ *testing.T, _ grpc.BidiStreamingClient[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse], cancel, _ func(), _ *grpc.ClientConn) {
				cancel()
			}, "CANCELLED", "CANCELLED",
		},
		"the client cancels while it receives": {
			untilDone,
			func(t *testing.T, s grpc.BidiStreamingClient[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse], cancel, _ func(), _ *grpc.ClientConn) {
				go cancel()
				if _, err := s.Recv(); status.Code(err) != codes.Canceled {
					t.Error(err)
				}
			}, "CANCELLED", "CANCELLED",
		},
		"the client's connection is closed": {
			untilDone,
			func(t *testing.T, _ grpc.BidiStreamingClient[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse], _, _ func(), cc *grpc.ClientConn) {
				if err := cc.Close(); err != nil {
					t.Error(err)
				}
			}, "CANCELLED", "CANCELLED",
		},
		"the server goes away": {
			untilDone,
			func(t *testing.T, s grpc.BidiStreamingClient[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse], _, stop func(), _ *grpc.ClientConn) {
				stop()
				if _, err := s.Recv(); status.Code(err) != codes.Unavailable {
					t.Error(err)
				}
			}, "CANCELLED", "UNAVAILABLE",
		},
		"a message that is too large": {
			untilDone,
			func(t *testing.T, s grpc.BidiStreamingClient[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse], cancel, _ func(), _ *grpc.ClientConn) {
				if err := s.Send(&testpb.StreamingOutputCallRequest{Payload: &testpb.Payload{Body: make([]byte, 2000)}}); status.Code(err) != codes.ResourceExhausted {
					t.Error(err)
				}
			}, "CANCELLED", "RESOURCE_EXHAUSTED",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := start(t, 1)
			entered := make(chan struct{})
			addr, stop := serve(t, &service{duplex: func(s grpc.ServerStream) error { close(entered); return test.duplex(s) }}, ServerOptions()...)
			c, cc := dial(t, addr, DialOptions(grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(1000)))...)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stream, err := c.FullDuplexCall(ctx)
			if err != nil {
				t.Fatal(err)
			}
			<-entered
			test.run(t, stream, cancel, stop, cc)
			stop() // waits for handlers
			ended(t, 2)
			r := got()
			for kind, want := range map[tracepb.Span_SpanKind]string{serverSide: test.server, clientSide: test.client} {
				spans := r.of(kind)
				if len(spans) != 1 || attributes(spans[0].Attributes)["rpc.response.status_code"] != want {
					t.Errorf("spans of the %v: %v, want one with %s", kind, spans, want)
				}
			}
			n := uint64(0)
			for key, count := range r.counts {
				if strings.Contains(key, method) {
					n += count
				}
			}
			if n != 2 {
				t.Errorf("counts %v, want one of each side", r.counts)
			}
		})
	}
}

// ended waits for spans: gRPC's client sees the end of a context or a connection
// in a goroutine of its own.
func ended(t *testing.T, spans uint64) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); sdk.Default().Stats().Spans.Added < spans; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d spans have ended, want %d", sdk.Default().Stats().Spans.Added, spans)
		}
	}
}

// What fails before anything is sent.
func TestEarlyFailures(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nowhere := l.Addr().String()
	_ = l.Close()
	expired, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	for name, test := range map[string]struct {
		ctx  context.Context
		want codes.Code
	}{
		"nobody listens":        {t.Context(), codes.Unavailable},
		"the deadline was over": {expired, codes.DeadlineExceeded},
		"malformed metadata":    {metadata.AppendToOutgoingContext(t.Context(), "key", "\x00"), codes.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			got := start(t, 0)
			c, cc := dial(t, nowhere, DialOptions()...)
			if _, err := c.UnaryCall(test.ctx, &testpb.SimpleRequest{}); status.Code(err) != test.want {
				t.Errorf("unary: %v", err)
			}
			if _, err := c.FullDuplexCall(test.ctx); status.Code(err) != test.want {
				t.Errorf("stream: %v", err)
			}
			_ = cc.Close()
			r := got()
			if spans := r.of(clientSide); len(spans) != 2 || attributes(spans[0].Attributes)["error.type"] != codeNames[test.want] || spans[0].Status.Message == "" {
				t.Errorf("spans %v, want two that failed", spans)
			}
		})
	}
}

func TestPanics(t *testing.T) {
	panics := &service{unary: func(context.Context) error { panic(errors.New("oh")) }, duplex: func(grpc.ServerStream) error { panic("oh") }}
	// Whoever recovers further out finds the panic as it was.
	outer := []grpc.ServerOption{
		grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (_ any, err error) {
			defer func() { err = status.Errorf(codes.Internal, "outer: %v", recover()) }()
			return h(ctx, req)
		}),
		grpc.StreamInterceptor(func(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) (err error) {
			defer func() { err = status.Errorf(codes.Internal, "outer: %v", recover()) }()
			return h(srv, s)
		}),
	}
	for _, recovers := range []bool{true, false} {
		t.Run(strconv.FormatBool(recovers), func(t *testing.T) {
			var log bytes.Buffer
			old := slog.Default()
			slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
			defer slog.SetDefault(old)
			got := start(t, 0)
			opts := Server{Recover: recovers}.Options(outer...)
			if recovers {
				opts = Server{Recover: true}.Options()
			}
			addr, stop := serve(t, panics, opts...)
			c, _ := dial(t, addr)
			want := map[bool]string{true: "the handler panicked", false: "outer: oh"}[recovers]
			if _, err := c.UnaryCall(t.Context(), &testpb.SimpleRequest{}); status.Code(err) != codes.Internal || status.Convert(err).Message() != want {
				t.Error(err)
			}
			stream, err := c.FullDuplexCall(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); status.Code(err) != codes.Internal || status.Convert(err).Message() != want {
				t.Error(err)
			}
			stop()
			r := got()
			spans := r.of(serverSide)
			if len(spans) != 2 {
				t.Fatalf("spans %v, want 2", spans)
			}
			for _, s := range spans {
				if attributes(s.Attributes)["error.type"] != "panic" || len(s.Events) != 1 || s.Events[0].Name != "exception" {
					t.Errorf("span %v", s)
					continue
				}
				if e := attributes(s.Events[0].Attributes); e["exception.message"] != "oh" || !strings.Contains(e["exception.stacktrace"], "calls_test.go") {
					t.Errorf("exception %v", e)
				}
			}
			if n := strings.Count(log.String(), "panic in a gRPC handler"); n != map[bool]int{true: 2}[recovers] || (n > 0 && !strings.Contains(log.String(), "calls_test.go")) {
				t.Errorf("logged %d times: %s", n, log.String())
			}
		})
	}
}

// uncomparable is a context that == panics of.
type uncomparable struct {
	context.Context
	_ []int
}

// streamOf is a stream with a context that another interceptor has put there.
type streamOf struct {
	grpc.ServerStream
	ctx context.Context
}

func (s streamOf) Context() context.Context { return s.ctx }

func TestContextThatCannotBeCompared(t *testing.T) {
	defer start(t, 1)()
	s := Server{Trace: func(string) bool { return false }}
	served := false
	err := s.stream(nil, streamOf{ctx: uncomparable{Context: t.Context()}}, &grpc.StreamServerInfo{FullMethod: "/a/b"}, func(any, grpc.ServerStream) error { served = true; return nil })
	if err != nil || !served {
		t.Errorf("served is %v, error %v", served, err)
	}
}

// Health checks are counted, and have spans for those who want them.
func TestWhatIsTraced(t *testing.T) {
	for _, all := range []bool{false, true} {
		t.Run(strconv.FormatBool(all), func(t *testing.T) {
			got := start(t, 1)
			var s Server
			var c Client
			if all {
				s.Trace = func(string) bool { return true }
				c.Trace = s.Trace
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			g := grpc.NewServer(s.Options(grpc.WaitForHandlers(true))...)
			grpc_health_v1.RegisterHealthServer(g, health.NewServer())
			go func() { _ = g.Serve(l) }()
			_, cc := dial(t, l.Addr().String(), c.Options()...)
			if _, err := grpc_health_v1.NewHealthClient(cc).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
				t.Error(err)
			}
			watch, err := grpc_health_v1.NewHealthClient(cc).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := watch.Recv(); err != nil {
				t.Error(err)
			}
			g.Stop()
			if _, err := watch.Recv(); err == nil {
				t.Error("a stopped server answers")
			}
			r := got()
			if want := map[bool]int{true: 4}[all]; len(r.spans) != want {
				t.Errorf("%d spans, want %d", len(r.spans), want)
			}
			for _, want := range []string{"server.call.duration grpc.health.v1.Health/Check OK", "client.call.duration grpc.health.v1.Health/Check OK", "client.call.duration grpc.health.v1.Health/Watch UNAVAILABLE UNAVAILABLE"} {
				if r.counts["rpc."+want] != 1 {
					t.Errorf("counts %v, want %s", r.counts, want)
				}
			}
		})
	}
}

// Telemetry that is sent over gRPC makes none: each call would be more to send.
func TestTelemetryIsNotTraced(t *testing.T) {
	got := start(t, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(ServerOptions(grpc.WaitForHandlers(true))...)
	tracecollector.RegisterTraceServiceServer(g, tracecollector.UnimplementedTraceServiceServer{})
	go func() { _ = g.Serve(l) }()
	_, cc := dial(t, l.Addr().String(), DialOptions()...)
	if _, err := tracecollector.NewTraceServiceClient(cc).Export(t.Context(), &tracecollector.ExportTraceServiceRequest{}); status.Code(err) != codes.Unimplemented {
		t.Error(err)
	}
	if _, err := cc.NewStream(t.Context(), &grpc.StreamDesc{}, "/opentelemetry.proto.collector.trace.v1.TraceService/Stream"); err != nil {
		t.Error(err)
	}
	g.Stop()
	r := got()
	if len(r.spans) != 0 {
		t.Errorf("spans %v", r.spans)
	}
	for series := range r.counts {
		if strings.HasPrefix(series, "rpc.client.") {
			t.Errorf("the client counts %s", series)
		}
	}
	if want := "rpc.server.call.duration opentelemetry.proto.collector.trace.v1.TraceService/Export UNIMPLEMENTED UNIMPLEMENTED"; r.counts[want] != 1 {
		t.Errorf("counts %v, want %s", r.counts, want)
	}
}

const (
	someTrace  = "4bf92f3577b34da6a3ce929d0e0e4736"
	someParent = "00-" + someTrace + "-00f067aa0ba902b7-01"
)

// A proxy that passes all metadata on does not pass the caller's span on.
func TestMetadata(t *testing.T) {
	got := start(t, 1)
	var seen metadata.MD
	var members baggage.Baggage
	c, cc, stop := pair(t, &service{unary: func(ctx context.Context) error {
		seen, _ = metadata.FromIncomingContext(ctx)
		members = baggage.FromContext(ctx)
		return nil
	}})
	member, err := baggage.NewMember("user", "7")
	if err != nil {
		t.Fatal(err)
	}
	bag, err := baggage.New(member)
	if err != nil {
		t.Fatal(err)
	}
	ctx := metadata.NewOutgoingContext(t.Context(), metadata.Pairs("traceparent", someParent, "tracestate", "other=1", "x-own", "a", "x-own", "b"))
	ctx = metadata.AppendToOutgoingContext(ctx, "x-more", "c")
	if _, err := c.UnaryCall(baggage.ContextWithBaggage(ctx, bag), &testpb.SimpleRequest{}); err != nil {
		t.Fatal(err)
	}
	if md, _ := metadata.FromOutgoingContext(ctx); md["traceparent"][0] != someParent {
		t.Error("the caller's metadata was changed")
	}
	if len(seen["traceparent"]) != 1 || strings.Contains(seen["traceparent"][0], someTrace) || !slices.Equal(seen["tracestate"], []string{"ot=th:0"}) ||
		!slices.Equal(seen["x-own"], []string{"a", "b"}) || !slices.Equal(seen["x-more"], []string{"c"}) || !slices.Equal(seen["baggage"], []string{"user=7"}) {
		t.Errorf("the server has seen %v", seen)
	}
	if members.Member("user").Value() != "7" {
		t.Errorf("baggage %v", members)
	}
	// A client without an SDK, but with a trace.
	plain, _ := dial(t, cc.Target())
	if _, err := plain.UnaryCall(metadata.AppendToOutgoingContext(t.Context(), "traceparent", someParent), &testpb.SimpleRequest{}); err != nil {
		t.Fatal(err)
	}
	stop()
	spans := got().of(serverSide)
	if len(spans) != 2 || spans[1].Flags&0x300 != 0x300 || string(spans[1].TraceId) != "\x4b\xf9\x2f\x35\x77\xb3\x4d\xa6\xa3\xce\x92\x9d\x0e\x0e\x47\x36" {
		t.Errorf("spans %v", spans)
	}
}

// What a client calls a method that the server does not have makes no series.
func TestUnknownMethods(t *testing.T) {
	got := start(t, 1)
	addr, stop := serve(t, &service{}, ServerOptions(grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error { return nil }))...)
	_, cc := dial(t, addr)
	s, err := cc.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/any.Thing/At4711")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.RecvMsg(&testpb.Empty{}); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	stop()
	r := got()
	if a := attributes(r.spans[0].Attributes); r.spans[0].Name != "grpc" || a["rpc.method"] != "_OTHER" || a["rpc.method_original"] != "any.Thing/At4711" {
		t.Errorf("span %v", r.spans[0])
	}
	if r.counts["rpc.server.call.duration _OTHER OK"] != 1 {
		t.Errorf("counts %v", r.counts)
	}
}

func TestAddress(t *testing.T) {
	for target, want := range map[string]string{
		"dns:///shop.example:443": "shop.example 443", "dns://8.8.8.8/shop.example:443": "shop.example 443", "passthrough:///127.0.0.1:7": "127.0.0.1 7",
		"unix:///tmp/s": "/tmp/s 0", "xds:///shop": "shop 0", "dns:///[::1]:5": "::1 5", "passthrough:///bufnet": "bufnet 0", "dns:///a:b": "a:b 0", "": " 0",
	} {
		if host, port := address(target); host+" "+strconv.Itoa(port) != want {
			t.Errorf("%q is %q, %d, want %s", target, host, port, want)
		}
	}
}

func second(_ any, err error) error { return err }
