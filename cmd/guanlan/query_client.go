package main

import (
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

// open asks path of the server and returns its answer's body. An answer that
// is no success becomes an error with the server's own words.
func (a *asking) open(ctx context.Context, path string, params url.Values) (io.ReadCloser, error) {
	base, err := url.Parse(a.server)
	if err != nil || base.Host == "" {
		return nil, usageError{fmt.Errorf("--server %q: want a URL like http://127.0.0.1:4390", a.server)}
	}
	target := base.JoinPath(path)
	target.RawQuery = params.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, err
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
	if res.StatusCode == http.StatusOK {
		return res.Body, nil
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", base, err)
	}
	err = refusal(res.Status, text)
	if res.StatusCode/100 == 4 && res.StatusCode != http.StatusNotFound {
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
		words = append(words, strings.TrimPrefix(e.Location, "query.")+": "+e.Message)
	}
	return errors.New(strings.Join(words, "\n  → "))
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
