package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/guanlan-io/guanlan/internal/semconv"
)

// notFoundError marks the answer that something is not there.
type notFoundError struct{ error }

func (e notFoundError) Unwrap() error { return e.error }

// open asks path of the server and returns its answer's body.
func (a *asking) open(ctx context.Context, path string, params url.Values) (io.ReadCloser, error) {
	return a.call(ctx, http.MethodGet, path, params, nil)
}

// call sends a request, with a JSON body unless that is nil, and returns the
// answer's body. An answer that is no success becomes an error with the
// server's own words; a notFoundError when that is what they say.
func (a *asking) call(ctx context.Context, method, path string, params url.Values, body []byte) (io.ReadCloser, error) {
	base, err := url.Parse(a.server)
	if err != nil || base.Host == "" {
		return nil, usageError{fmt.Errorf("--server %q: want a URL like http://127.0.0.1:4390", a.server)}
	}
	target := base.JoinPath(path)
	target.RawQuery = params.Encode()
	req, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if a.tenant != "" {
		req.Header.Set(semconv.TenantHeader, a.tenant)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("ask %s: nothing listens there\n  → start it with: guanlan up, or name another address with --server", base)
		}
		return nil, fmt.Errorf("ask %s: %w", base, err)
	}
	if res.StatusCode == http.StatusOK || res.StatusCode == http.StatusNoContent {
		return res.Body, nil
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", base, err)
	}
	err = refusal(res.Status, text)
	switch {
	case res.StatusCode == http.StatusNotFound:
		err = notFoundError{err}
	case res.StatusCode/100 == 4:
		err = usageError{err}
	}
	return nil, err
}

// refusal reads the server's explanation: a problem document, Prometheus'
// error object, or plain text.
func refusal(status string, text []byte) error {
	var p struct {
		Detail string `json:"detail"`
		Errors []struct {
			Location string `json:"location"`
			Message  string `json:"message"`
		} `json:"errors"`
		Error string `json:"error"`
	}
	if json.Unmarshal(text, &p) != nil || p.Detail == "" && p.Error == "" {
		return fmt.Errorf("%s: %s", status, strings.TrimSpace(string(text)))
	}
	words := []string{p.Detail + p.Error}
	for _, e := range p.Errors {
		words = append(words, place(e.Location)+": "+e.Message)
	}
	return errors.New(strings.Join(words, "\n  → "))
}

// place is a location without the part of the request that it is in.
func place(location string) string {
	for _, part := range []string{"query.", "body.", "path."} {
		location = strings.TrimPrefix(location, part)
	}
	return location
}

// get asks and decodes a JSON answer into v.
func (a *asking) get(ctx context.Context, path string, params url.Values, v any) error {
	body, err := a.open(ctx, path, params)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(v); err != nil {
		return fmt.Errorf("decode the answer of %s%s: %w", a.server, path, err)
	}
	return nil
}
