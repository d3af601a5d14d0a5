// A program that was instrumented by hand with the OpenTelemetry API, its SDK and
// otelhttp, before it was woven.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

var tracer = otel.Tracer("example.com/otel") // before anything was set

func main() {
	provider := sdktrace.NewTracerProvider()
	defer func() { _ = provider.Shutdown(context.Background()) }()
	otel.SetTracerProvider(provider)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	url := "http://" + listener.Addr().String()
	mux := http.NewServeMux()

	// A server and a client that are instrumented already: one span each.
	client := &http.Client{Transport: otelhttp.NewTransport(http.DefaultTransport)}
	mux.Handle("GET /orders/{id}", otelhttp.NewHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		trace.SpanFromContext(r.Context()).SetAttributes(attribute.String("order.kind", "gold"))
		ctx, span := tracer.Start(r.Context(), "price", trace.WithAttributes(attribute.Int("items", 3)))
		member, _ := baggage.NewMember("tenant", "acme")
		bag, _ := baggage.New(member)
		ctx = baggage.ContextWithBaggage(ctx, bag)
		slog.InfoContext(ctx, "pricing")
		get(ctx, client, url+"/stock")
		get(context.Background(), http.DefaultClient, url+"/stock?blind")
		span.RecordError(errors.New("no discount"))
		span.SetStatus(codes.Error, "no discount")
		span.End()
		_, err := io.WriteString(w, "ok")
		check(err)
	}), "order"))
	mux.HandleFunc("GET /stock", func(w http.ResponseWriter, r *http.Request) {
		_, span := tracer.Start(r.Context(), "look up")
		tenant := baggage.FromContext(r.Context()).Member("tenant").Value()
		span.AddEvent("found", trace.WithAttributes(attribute.Int("left", 7), attribute.String("tenant", tenant)))
		span.End()
	})
	go func() { check(http.Serve(listener, mux)) }()

	ctx, span := tracer.Start(context.Background(), "main")
	get(ctx, http.DefaultClient, url+"/orders/7")
	span.End()

	// No span from here on, though there is one around.
	ctx, span = tracer.Start(context.Background(), "around")
	none := trace.ContextWithSpan(ctx, nil)
	_, alone := tracer.Start(none, "alone")
	alone.End()
	fmt.Println("there is none:", !trace.SpanFromContext(none).SpanContext().IsValid())
	// A panic that passes by, and stops where the program has it stop.
	func() {
		defer func() { fmt.Println("recovered", recover()) }()
		_, span := tracer.Start(ctx, "panics")
		defer span.End()
		panic("a bug")
	}()
	span.AddEvent("early", trace.WithTimestamp(time.Unix(1, 0)))
	span.End()
	_ = trace.ContextWithSpan(ctx, (*broken)(nil)) // nobody asks it for anything

	// A message that came over the wire, read by hand.
	carrier := propagation.MapCarrier{"traceparent": "00-0102030405060708090a0b0c0d0e0f10-0102030405060708-01"}
	ctx = propagation.TraceContext{}.Extract(context.Background(), carrier)
	slog.InfoContext(ctx, "message received")
	get(ctx, http.DefaultClient, url+"/stock")
	same := trace.SpanContextFromContext(ctx).SpanID().String() == "0102030405060708"
	fmt.Println("the remote span is seen:", same)
	out := propagation.MapCarrier{}
	otel.GetTextMapPropagator().Inject(ctx, out)
	fmt.Println("and passed on:", out["traceparent"] == carrier["traceparent"])
}

// broken is a span that must not be nil.
type broken struct{ trace.Span }

func (b *broken) SpanContext() trace.SpanContext { return b.Span.SpanContext() }

func get(ctx context.Context, client *http.Client, url string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	check(err)
	resp, err := client.Do(req)
	check(err)
	_, err = io.Copy(io.Discard, resp.Body)
	check(err)
	check(resp.Body.Close())
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
