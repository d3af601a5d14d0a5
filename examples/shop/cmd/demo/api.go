//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

var errUnseen = errors.New("nothing there yet")

// api reads from Guanlan.
type api struct{ base string }

// trace and span are what the demo wants to know of them.
type trace struct {
	TraceID    string `json:"traceId"`
	Service    string `json:"service"`
	Name       string `json:"name"`
	DurationNs int64  `json:"durationNs"`
	Errors     int    `json:"errors"`
	Services   []struct {
		Name string `json:"name"`
	} `json:"services"`
}

func (t trace) link() string { return "/traces/" + t.TraceID }

type span struct {
	Service    string `json:"service"`
	Kind       string `json:"kind"`
	Attributes []struct {
		Key   string `json:"key"`
		Value any    `json:"value"`
	} `json:"attributes"`
}

func (s span) attr(key string) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			return fmt.Sprint(a.Value)
		}
	}
	return ""
}

func (a *api) get(ctx context.Context, path string, query url.Values, into any) error {
	req, err := http.NewRequestWithContext(ctx, "GET", a.base+path+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("get %s: %s", req.URL, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

func (a *api) put(ctx context.Context, path string, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, "PUT", a.base+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("put %s: %s", req.URL, resp.Status)
	}
	return nil
}

func (a *api) traces(ctx context.Context, filter string) ([]trace, error) {
	var list struct {
		Traces []trace `json:"traces"`
	}
	err := a.get(ctx, "/guanlan/v1/traces", url.Values{"filter": {filter}}, &list)
	return list.Traces, err
}

// worst finds the longest trace that meets filter and ok.
func (a *api) worst(ctx context.Context, filter string, ok func(trace) bool) (what, link string, err error) {
	list, err := a.traces(ctx, filter)
	if err != nil {
		return "", "", err
	}
	var worst trace
	for _, t := range list {
		if ok(t) && t.DurationNs > worst.DurationNs {
			worst = t
		}
	}
	if worst.TraceID == "" {
		return "", "", errUnseen
	}
	return fmt.Sprintf("%s %s, %s", worst.Service, worst.Name, time.Duration(worst.DurationNs).Round(time.Millisecond)), worst.link(), nil
}
