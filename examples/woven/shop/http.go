package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// drainTimeout is how long requests in flight may take once a service is told
// to stop.
const drainTimeout = 5 * time.Second

// serveHTTP answers requests until ctx ends, and then those that are there.
func serveHTTP(ctx context.Context, addr string, h http.Handler) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	slog.Info("listening", "address", l.Addr().String())
	server := &http.Server{Handler: h}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	return server.Shutdown(drain)
}

// client calls a service that speaks JSON over HTTP.
type client struct {
	base string
	http http.Client
}

func newClient(addr string) *client { return &client{base: "http://" + addr} }

// statusError is an answer other than 2xx.
type statusError struct {
	Status  int    `json:"-"`
	Message string `json:"error"`
}

func (e *statusError) Error() string { return e.Message }

// call sends in and decodes the answer into out; either may be nil. An answer
// other than 2xx is a *statusError.
func (c *client) call(method, path string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
	}
	req, err := http.NewRequest(method, c.base+path, &body)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		e := &statusError{Status: resp.StatusCode}
		if json.NewDecoder(resp.Body).Decode(e) != nil || e.Message == "" {
			e.Message = resp.Status
		}
		return e
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("decode answer of %s: %w", req.URL, err)
	}
	return nil
}

// reply answers with v as JSON.
func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v) // an error here is the caller hanging up
}

// replyError answers with a *statusError's status, else 500.
func replyError(w http.ResponseWriter, err error) {
	e := &statusError{Status: http.StatusInternalServerError, Message: err.Error()}
	errors.As(err, &e)
	reply(w, e.Status, e)
}
