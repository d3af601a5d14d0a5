//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

// sight is one thing that must be seen in Guanlan before the demo is ready.
type sight struct {
	title string
	what  string // found out when it is seen
	link  string // below the UI's address
	look  func(context.Context, *api) (what, link string, err error)
}

// sights are everything to be seen.
type sights struct {
	ui  string
	all []*sight
}

// look asks Guanlan until all there is to see is seen, or ctx ends. It fails
// only when the demo cannot go on.
func look(ctx context.Context, procs *processes, addr string, stops <-chan os.Signal) (*sights, error) {
	a := &api{base: "http://" + addr}
	seen := &sights{ui: a.base, all: []*sight{
		{title: "one order", look: wholeOrder},
		{title: "slow trace", look: slowTrace},
		{title: "failing trace", look: failingTrace},
		{title: "logs", link: "/logs", look: logs("service.name = order", "of every service, with trace ids")},
		{title: "access log", link: "/logs", look: logs("log.log.file.name = access.log", "read from the gateway's file")},
		{title: "metrics", link: "/metrics", look: metrics(`{__name__=~"http.server.request.duration.*"}`, "of HTTP, gRPC, SQL, Redis and the Go runtime")},
		{title: "cache", link: "/metrics", look: metrics("cache_keys", "scraped from a Prometheus page")},
	}}
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, s := range seen.all {
			if s.what == "" {
				what, link, err := s.look(ctx, a)
				if err == nil {
					s.what, s.link = what, link
				}
			}
		}
		if len(seen.missing()) == 0 {
			return seen, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return seen, nil
		case p := <-procs.ended:
			return nil, p.obituary()
		case <-stops:
			return nil, errStopped
		}
	}
}

func (s *sights) missing() []string {
	var titles []string
	for _, one := range s.all {
		if one.what == "" {
			titles = append(titles, one.title)
		}
	}
	return titles
}

// print is the first screen.
func (s *sights) print(w io.Writer, took time.Duration, data string) {
	fmt.Fprintf(w, "\n  The shop is open (%.1f s). Look at it:\n\n  %-14s %s\n", took.Seconds(), "UI", s.ui+"/services")
	for _, one := range s.all {
		if one.what != "" {
			fmt.Fprintf(w, "  %-14s %s\n  %-14s   %s\n", one.title, s.ui+one.link, "", one.what)
		}
	}
	for _, title := range s.missing() {
		fmt.Fprintf(w, "  %-14s not seen yet\n", title)
	}
	fmt.Fprintf(w, "\n  What the processes write: %s/logs\n", data)
}

// parts are what a whole order has: a name for each and how to know it.
var parts = []struct {
	name string
	is   func(span) bool
}{
	{"gateway (HTTP)", func(s span) bool { return s.Service == "gateway" && s.Kind == "server" }},
	{"order (gRPC)", func(s span) bool { return s.Service == "order" && s.Kind == "server" }},
	{"inventory (HTTP)", func(s span) bool { return s.Service == "inventory" && s.Kind == "server" }},
	{"SQL", func(s span) bool { return s.attr("db.system.name") == "sqlite" }},
	{"Redis", func(s span) bool { return s.attr("db.system.name") == "redis" }},
	{"channel", func(s span) bool { return s.Service == "order" && s.Kind == "producer" }},
	{"pool", func(s span) bool { return s.attr("guanlan.pool.name") != "" }},
}

// wholeOrder looks for a trace that has every part.
func wholeOrder(ctx context.Context, a *api) (string, string, error) {
	list, err := a.traces(ctx, "service.name = order")
	if err != nil {
		return "", "", err
	}
	for _, t := range list {
		if len(t.Services) < 3 {
			continue
		}
		var whole struct {
			SpanList []span `json:"spanList"`
		}
		if err := a.get(ctx, "/guanlan/v1/traces/"+t.TraceID, nil, &whole); err != nil {
			return "", "", err
		}
		var names []string
		for _, p := range parts {
			if slices.ContainsFunc(whole.SpanList, p.is) {
				names = append(names, p.name)
			}
		}
		if len(names) == len(parts) {
			return fmt.Sprintf("%d spans: %s", len(whole.SpanList), strings.Join(names, " → ")), t.link(), nil
		}
	}
	return "", "", errUnseen
}

func slowTrace(ctx context.Context, a *api) (string, string, error) {
	return a.worst(ctx, "service.name = gateway and root = true and duration > 300ms", func(t trace) bool { return t.Errors == 0 })
}

func failingTrace(ctx context.Context, a *api) (string, string, error) {
	return a.worst(ctx, "service.name = gateway and root = true and status = error", func(trace) bool { return true })
}

func logs(filter, what string) func(context.Context, *api) (string, string, error) {
	return func(ctx context.Context, a *api) (string, string, error) {
		var list struct {
			Logs []struct {
				TraceID string `json:"traceId"`
			} `json:"logs"`
		}
		if err := a.get(ctx, "/guanlan/v1/logs", url.Values{"filter": {filter}}, &list); err != nil {
			return "", "", err
		}
		for _, l := range list.Logs {
			if l.TraceID != "" {
				return what, "/logs?" + url.Values{"q": {filter}}.Encode(), nil
			}
		}
		return "", "", errUnseen
	}
}

func metrics(promQL, what string) func(context.Context, *api) (string, string, error) {
	return func(ctx context.Context, a *api) (string, string, error) {
		var answer struct {
			Data struct {
				Result []json.RawMessage `json:"result"`
			} `json:"data"`
		}
		if err := a.get(ctx, "/api/v1/query", url.Values{"query": {promQL}}, &answer); err != nil {
			return "", "", err
		}
		if len(answer.Data.Result) == 0 {
			return "", "", errUnseen
		}
		return what, "/metrics?" + url.Values{"expr": {promQL}}.Encode(), nil
	}
}
