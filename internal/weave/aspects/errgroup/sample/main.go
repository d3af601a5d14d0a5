// Calls at the same time in a group: with the group's context, without any, with
// a limit, one that fails.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"

	"golang.org/x/sync/errgroup"
)

func main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stdout, nil)))
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "in stock") }))
	defer backend.Close()

	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders", func(w http.ResponseWriter, r *http.Request) {
		group, ctx := errgroup.WithContext(r.Context())
		for range 3 {
			group.Go(func() error { return get(ctx, backend.URL) })
		}
		if err := group.Wait(); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
		}
		slog.InfoContext(r.Context(), "orders read")
	})
	mux.HandleFunc("GET /blind", func(w http.ResponseWriter, r *http.Request) {
		var group errgroup.Group
		group.SetLimit(2)
		for range 4 {
			group.Go(func() error { return get(context.Background(), backend.URL) })
		}
		if err := group.Wait(); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
		}
	})
	mux.HandleFunc("GET /failing", func(w http.ResponseWriter, r *http.Request) {
		var group errgroup.Group
		group.Go(func() error {
			slog.Warn("the bank said no")
			return errors.New("the bank said no")
		})
		if !group.TryGo(func() error { return nil }) {
			panic("there is no limit")
		}
		if err := group.Wait(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	for _, path := range []string{"/orders", "/blind", "/failing"} {
		if err := get(context.Background(), server.URL+path); err != nil {
			panic(err)
		}
		fmt.Println(path)
	}
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
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.Body.Close()
}
