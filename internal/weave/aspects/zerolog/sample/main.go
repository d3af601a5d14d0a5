// Lines of zerolog within requests and without: fields, children, an error, one
// level that is off, a logger in the context, the global one, hooks, samplers, two
// outputs, raw JSON that is none.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	std "log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/rs/zerolog/log"
)

var (
	handed  = make(chan context.Context)
	handled = make(chan bool)
)

func main() {
	zerolog.CallerMarshalFunc = func(_ uintptr, file string, _ int) string { return filepath.Base(file) + ":7" }
	logger := zerolog.New(os.Stdout).Level(zerolog.InfoLevel)
	log.Logger = logger
	logger.Info().Int("orders", 0).Msg("shop opens")

	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		child := logger.With().Str("order", r.PathValue("id")).Logger()
		child.Info().Ctx(r.Context()).Bool("paid", true).Strs("items", []string{"tea", "milk"}).Msg("order read")
		child.Debug().Msg("not written")
		child.Warn().Dict("stock", zerolog.Dict().Int("left", 3)).Msgf("%s is short", "tea")
		zerolog.Ctx(child.WithContext(r.Context())).Info().Msg("from the context")
		done := make(chan struct{})
		go func() { // which has no context to hand on
			defer close(done)
			log.Info().Str("order", r.PathValue("id")).Send()
		}()
		<-done
		// It says itself what it belongs to.
		logger.Info().Str("trace_id", "mine").Msg("traced elsewhere")
	})
	mux.HandleFunc("GET /fields", func(w http.ResponseWriter, r *http.Request) {
		logger.Info().Float64("ratio", 0.25).Uint64("large", 1<<63).Dur("took", 1500*time.Millisecond).Bytes("text", []byte("<ä>\n")).
			Interface("sizes", []any{1, "xl", map[string]int{"a": 1}, nil}).Dict("cart", zerolog.Dict().Dict("first", zerolog.Dict().Str("name", "tea"))).
			Caller().Msg("kinds")
		logger.Info().RawJSON("raw", []byte(`{"a":[1,`)).Int("n", 1).Msg("no JSON")
		logger.Info().Str("document", strings.Repeat("x", 100_000)).Msg("far too long")
		logger.Log().Str("level", "audit").Msg("no level")
		logger.WithLevel(zerolog.FatalLevel).Send()
	})
	mux.HandleFunc("GET /outputs", func(w http.ResponseWriter, r *http.Request) {
		both := zerolog.New(zerolog.MultiLevelWriter(os.Stdout, zerolog.ConsoleWriter{Out: os.Stdout, NoColor: true, PartsExclude: []string{zerolog.TimestampFieldName}}))
		both.Info().Int("n", 1).Msg("to both")
		sampled := logger.Sample(&zerolog.BasicSampler{N: 3})
		for range 3 {
			sampled.Info().Msg("once of three times")
		}
		hooked := logger.Hook(zerolog.HookFunc(func(e *zerolog.Event, _ zerolog.Level, _ string) { e.Str("hook", "was here") }))
		hooked.Info().Msg("hooked")
		picky := logger.Hook(zerolog.HookFunc(func(e *zerolog.Event, _ zerolog.Level, _ string) { e.Discard() }))
		picky.Info().Msg("thrown away")
		nowhere := zerolog.New(io.Discard)
		nowhere.Info().Msg("to nowhere")
		std.New(logger, "", 0).Print("by package log")
	})
	mux.HandleFunc("GET /context", func(w http.ResponseWriter, r *http.Request) {
		// Of another goroutine that works for nobody, with the context only.
		handed <- r.Context()
		<-handled
	})
	go func() {
		for ctx := range handed {
			logger.Info().Ctx(ctx).Msg("by context")
			child := logger.With().Ctx(ctx).Logger()
			child.Info().Msg("by context of With")
			logger.Info().Msg("without")
			handled <- true
		}
	}()
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		logger.Err(errors.New("the bank said no")).Int("tries", 2).Msg("no order")
		w.WriteHeader(http.StatusInternalServerError)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	call("GET", server.URL+"/orders/7")
	call("POST", server.URL+"/orders")
	for _, path := range []string{"/fields", "/outputs", "/context"} {
		call("GET", server.URL+path)
	}

	console := zerolog.New(zerolog.ConsoleWriter{Out: os.Stdout, NoColor: true, PartsExclude: []string{zerolog.TimestampFieldName}})
	console.Debug().Msg("shop closes")
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
	_ = resp.Body.Close()
	fmt.Println(method, resp.StatusCode)
}
