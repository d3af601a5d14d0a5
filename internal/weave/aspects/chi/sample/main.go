// Orders over chi: routes with parameters, a mounted router, a handler that
// ignores the request's context, an error, a panic.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
)

func main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stdout, nil)))
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "in stock") }))
	defer backend.Close()

	router := chi.NewRouter()
	router.Use(middleware.RealIP)
	router.Get("/orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		slog.InfoContext(r.Context(), "order read", "order", chi.URLParam(r, "id"))
		fmt.Fprintln(w, "order", chi.URLParam(r, "id"))
	})
	// The context does not come along, neither to the log nor to the call.
	router.Get("/stock/*", func(w http.ResponseWriter, r *http.Request) {
		slog.Info("stock read", "item", chi.URLParam(r, "*"))
		if err := get(context.Background(), backend.URL); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	admin := chi.NewRouter()
	admin.Post("/orders/{id:[0-9]+}/refund", func(w http.ResponseWriter, r *http.Request) {
		slog.ErrorContext(r.Context(), "no refund", "err", "the bank said no")
		http.Error(w, "the bank said no", http.StatusInternalServerError)
	})
	admin.With(middleware.Recoverer).Get("/panic", func(http.ResponseWriter, *http.Request) { panic("out of coffee") })
	router.Mount("/admin", admin)

	server := httptest.NewServer(router)
	defer server.Close()
	call("GET", server.URL+"/orders/7")
	call("GET", server.URL+"/stock/tea/green")
	call("POST", server.URL+"/admin/orders/7/refund")
	call("GET", server.URL+"/admin/panic")
	call("GET", server.URL+"/nowhere")
	call("DELETE", server.URL+"/orders/7")
}

func get(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func call(method, url string) {
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		panic(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		panic(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	fmt.Println(method, resp.StatusCode)
}
