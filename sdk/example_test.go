package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
)

// receiver stands in for Guanlan.
var receiver = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))

// A service with traces, metrics and logs. With the blank import of package
// auto instead of Start, the middle of main is enough.
func Example() {
	ctx := context.Background()
	telemetry, err := sdk.Start(ctx, sdk.Options{ServiceName: "greeter", Endpoint: receiver.URL})
	if err != nil {
		fmt.Println("a part of the configuration is not used:", err) // the service goes on
	}
	defer telemetry.Shutdown(ctx)
	log := slog.New(telemetry.LogHandler(slog.LevelWarn))

	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello/{name}", func(w http.ResponseWriter, r *http.Request) {
		trace.SpanFromContext(r.Context()).SetAttributes(attribute.String("greeted", r.PathValue("name")))
		log.InfoContext(r.Context(), "greeting") // with trace and span id
		fmt.Fprintf(w, "Hello, %s!", r.PathValue("name"))
	})
	service := httptest.NewServer(sdk.Handler(mux)) // or sdk.ListenAndServe(addr, mux)
	defer service.Close()

	client := &http.Client{Transport: sdk.Transport(nil)}
	ctx, span := otel.Tracer("example").Start(ctx, "visit")
	defer span.End()
	req, _ := http.NewRequestWithContext(ctx, "GET", service.URL+"/hello/Ada", nil)
	res, err := client.Do(req)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	fmt.Println(string(body))
	// Output: Hello, Ada!
}

// mailKey is what the series of a mail depends on: few values each.
type mailKey struct{ server, outcome string }

func (k mailKey) attrs() []core.Attr {
	return []core.Attr{core.String("mail.server", k.server), core.String("outcome", k.outcome)}
}

var mails = sdk.NewOperations(sdk.OperationOptions[mailKey]{
	Scope: "example.com/mail", Kind: core.KindClient,
	Metric: "mail.send.duration", Description: "Duration of sending a mail.", Attrs: mailKey.attrs,
})

// Instrumentation of one's own costs what that of the SDK does: nothing but a
// span's attributes depends on whether the trace is kept.
func ExampleNewOperations() {
	send := func(ctx context.Context, to string, do func(context.Context) error) error {
		op := mails.Start(ctx, "send mail")
		err := do(op.Ctx())
		key, failure := mailKey{"mx1", "sent"}, ""
		if err != nil {
			key.outcome, failure = "refused", "refused"
		}
		if op.Finish(failure) { // the span is kept: because it was sampled, or because it failed
			op.Span().SetAttr(core.String("mail.to.domain", to))
		}
		op.End(key)
		return err
	}
	fmt.Println(send(context.Background(), "example.org", func(context.Context) error { return errors.New("mailbox full") }))
	// Output: mailbox full
}
