// Lines of zap within requests and without: both faces, fields, children,
// namespaces, an error, one level that is off; the logger knows no context, or is
// told of one. Two outputs, a sampler, a core of the program's own, none at all.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

var (
	handed  = make(chan context.Context)
	handled = make(chan bool)
)

type item struct {
	name  string
	price int
}

func (i item) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("name", i.name)
	enc.AddInt("price", i.price)
	return nil
}

func (i *item) String() string { return i.name }

// quiet is a context of which a line has nothing that changes.
type quiet struct{ context.Context }

func (quiet) String() string { return "a context" }

// loud is a core of the program's own.
type loud struct{ zapcore.Core }

func (l loud) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return ce.AddCore(e, l)
}

func (l loud) Write(e zapcore.Entry, fields []zapcore.Field) error {
	e.Message += "!"
	return l.Core.Write(e, fields)
}

func main() {
	encoder := zap.NewProductionEncoderConfig()
	encoder.TimeKey = ""
	logger := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(encoder), zapcore.Lock(os.Stdout), zap.InfoLevel))
	defer logger.Sync()
	logger.Info("shop opens", zap.Int("orders", 0))

	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		child := logger.Named("orders").With(zap.String("order", r.PathValue("id")))
		child.Info("order read", zap.Bool("paid", true), zap.Strings("items", []string{"tea", "milk"}))
		child.Debug("not written")
		child.Sugar().Warnw("tea is short", "left", 3)
		done := make(chan struct{})
		go func() { // which has no context to hand on
			defer close(done)
			logger.Sugar().Infof("order %s shipped", r.PathValue("id"))
		}()
		<-done
		// It says itself what it belongs to.
		logger.Info("traced elsewhere", zap.String("trace_id", "mine"), zap.Namespace("caller"), zap.String("span_id", "his"))
	})
	mux.HandleFunc("GET /fields", func(w http.ResponseWriter, r *http.Request) {
		within := logger.With(zap.Namespace("cart"), zap.Int("items", 2), zap.Object("first", item{"tea", 3}))
		within.Info("cart read", zap.Any("sizes", []any{1, "xl", map[string]int{"a": 1}}), zap.Duration("took", 1500), zap.Reflect("none", nil))
		lazy := logger.WithLazy(zap.Bool("lazy", true))
		lazy.Warn("odd values", zap.Uint64("large", 1<<63), zap.Float64("ratio", 0.25), zap.ByteString("text", []byte("<ä>")), zap.Stringer("nobody", (*item)(nil)))
	})
	mux.HandleFunc("GET /outputs", func(w http.ResponseWriter, r *http.Request) {
		console := encoder
		console.CallerKey = ""
		both := zap.New(zapcore.NewTee(
			zapcore.NewCore(zapcore.NewConsoleEncoder(console), zapcore.Lock(os.Stdout), zap.InfoLevel),
			zapcore.NewCore(zapcore.NewJSONEncoder(encoder), zapcore.Lock(os.Stdout), zap.WarnLevel)))
		both.Info("to one", zap.Int("n", 1))
		both.With(zap.Int("n", 2)).Error("to both")
		sampled := zap.New(zapcore.NewSamplerWithOptions(logger.Core(), time.Hour, 1, 0))
		for range 3 {
			sampled.Info("once of three times")
		}
		wrapped := logger.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core { return loud{c} }), zap.Hooks(func(zapcore.Entry) error { return nil }))
		wrapped.Info("wrapped", zap.Int("n", 3))
		zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(encoder), zapcore.AddSync(io.Discard), zap.InfoLevel)).Info("to nowhere")
		zap.NewStdLog(logger).Print("by package log")
	})
	mux.HandleFunc("GET /context", func(w http.ResponseWriter, r *http.Request) {
		// Of another goroutine that works for nobody, with the context only.
		handed <- r.Context()
		<-handled
	})
	go func() {
		for ctx := range handed {
			logger.Info("by context", zap.Any("ctx", quiet{ctx}))
			logger.With(zap.Field{Key: "context", Type: zapcore.SkipType, Interface: ctx}).Info("by context of With")
			logger.Info("without")
			handled <- true
		}
	}()
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		logger.Error("no order", zap.Error(errors.New("the bank said no")), zap.Namespace("payment"), zap.Int("tries", 2))
		w.WriteHeader(http.StatusInternalServerError)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	call("GET", server.URL+"/orders/7")
	call("POST", server.URL+"/orders")
	for _, path := range []string{"/fields", "/outputs", "/context"} {
		call("GET", server.URL+path)
	}

	development, err := zap.NewDevelopment(zap.WithCaller(false), zap.AddStacktrace(zap.FatalLevel))
	if err != nil {
		panic(err)
	}
	development.Debug("shop closes")
	restore := zap.ReplaceGlobals(logger)
	defer restore()
	zap.L().Info("closed")
	zap.RedirectStdLog(logger)
	log.Print("closed by package log")
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
