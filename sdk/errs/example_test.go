package errs_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/guanlan-io/guanlan/sdk/errs"
)

var (
	ErrStock = errs.Define("inventory", 1001, errs.Client, "Out of stock", errs.HTTP(http.StatusConflict))
	ErrStore = errs.Define("inventory", 2001, errs.System, "The inventory is not available", errs.Help("Look at the database."))
)

func reserve(ctx context.Context, sku string) error {
	if sku == "umbrella" {
		return ErrStock.New(ctx, slog.String("sku", sku)).Detail("%d left", 0)
	}
	return ErrStore.Wrap(ctx, errors.New("dial tcp 10.0.0.7:5432: connection refused"))
}

func ExampleHandlerFunc() {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // where the cause is told

	h := errs.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		return reserve(r.Context(), r.FormValue("sku"))
	})
	for _, sku := range []string{"umbrella", "boots"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("POST", "/?sku="+sku, nil))
		fmt.Print(w.Code, " ", w.Body)
	}
	// Output:
	// 409 {"type":"urn:problem-type:inventory.1001","title":"Out of stock","status":409,"detail":"0 left","code":"inventory.1001"}
	// 503 {"type":"urn:problem-type:inventory.2001","title":"The inventory is not available","status":503,"code":"inventory.2001"}
}

func ExampleCode() {
	err := fmt.Errorf("place order: %w", reserve(context.Background(), "umbrella"))
	fmt.Println(errors.Is(err, ErrStock), errs.CodeOf(err).Number())
	// Output: true 1001
}

// A test of the service writes the table and compares it with the file that is
// kept with the service.
func ExampleWriteTable() {
	if err := errs.WriteTable(os.Stdout, errs.Markdown); err != nil {
		fmt.Println(err)
	}
	// Output:
	// # Error codes
	//
	// ## inventory
	//
	// | code | class | HTTP | gRPC | level | says | what to do |
	// |---|---|---|---|---|---|---|
	// | inventory.1001 | client | 409 | ABORTED | INFO | Out of stock |  |
	// | inventory.2001 | system | 503 | UNAVAILABLE | ERROR | The inventory is not available | Look at the database. |
	//
	// ## sdk
	//
	// | code | class | HTTP | gRPC | level | says | what to do |
	// |---|---|---|---|---|---|---|
	// | sdk.1 | server | 500 | INTERNAL | ERROR | Internal error | Look at the trace and at the log record with its id. |
	// | sdk.2 | client | 499 | CANCELLED | INFO | The caller went away | Nothing, unless callers give up often: then something is too slow for them. |
	// | sdk.3 | system | 504 | DEADLINE_EXCEEDED | ERROR | It took too long | Find the longest span of the trace. |
}
