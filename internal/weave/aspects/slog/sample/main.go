// Command slog logs by log/slog, in the ways programs do.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
)

// early is made before main runs.
var early = slog.New(slog.NewJSONHandler(os.Stdout, nil)).With("early", true)

// both writes to two handlers, as programs with a file and a console do.
type both struct{ a, b slog.Handler }

func (h both) Enabled(ctx context.Context, l slog.Level) bool { return h.a.Enabled(ctx, l) }
func (h both) Handle(ctx context.Context, r slog.Record) error {
	return errors.Join(h.a.Handle(ctx, r.Clone()), h.b.Handle(ctx, r.Clone()))
}
func (h both) WithAttrs(as []slog.Attr) slog.Handler {
	return both{h.a.WithAttrs(as), h.b.WithAttrs(as)}
}
func (h both) WithGroup(name string) slog.Handler {
	return both{h.a.WithGroup(name), h.b.WithGroup(name)}
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	var out bytes.Buffer
	text := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn}))
	silent := slog.New(slog.NewTextHandler(io.Discard, nil))
	twice := slog.New(both{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)})
	renamed := slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if a.Key == "trace_id" {
			a.Key = "trace"
		}
		if a.Key == "password" || a.Key == slog.MessageKey && strings.HasPrefix(a.Value.String(), "secret") {
			a.Value = slog.StringValue("hidden in " + strings.Join(groups, "."))
		}
		return a
	}}))
	stock := map[string]int{"tea": 7}
	then := slog.New(slog.NewJSONHandler(&out, nil)).With("stock", stock)
	stock["tea"] = 0
	ours := slog.New(slog.NewJSONHandler(&out, nil)).With("trace_id", "mine")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		early.InfoContext(ctx, "early")
		early.WithGroup("g").With("a", 1).WithGroup("h").Info("in groups", "b", 2, slog.Group("i", "c", 3))
		text.Info("too low")
		text.Warn("without a context", "err", errors.New("broken"))
		silent.Error("thrown away")
		twice.With("two", 2).Info("twice")
		renamed.InfoContext(ctx, "renamed")
		renamed.With("password", "1").WithGroup("g").Info("what is hidden", "password", "2", slog.Group("h", "password", "3"))
		renamed.Info("secret")
		then.Info("as it was then")
		ours.InfoContext(ctx, "of ours")
		slog.Info("by the default handler", "n", 1)
		log.Print("by package log")
	}))
	defer srv.Close()
	log.SetOutput(&out)
	if _, err := http.Get(srv.URL); err != nil {
		return err
	}
	early.Info("outside")
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, nil)))
	log.Print("by package log through slog")

	traced := 0
	for line := range strings.Lines(out.String()) {
		if strings.Contains(line, "trace_id") || strings.Contains(line, `"trace":`) {
			traced++
		}
	}
	fmt.Println(traced, "lines have a trace")
	return nil
}
