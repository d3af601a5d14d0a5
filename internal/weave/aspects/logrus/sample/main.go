// Lines of logrus within requests and without: fields, an error, one level that
// is off, the context given and not, the global logger.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/sirupsen/logrus"
)

var (
	handed  = make(chan context.Context)
	handled = make(chan bool)
)

// writer is a hook that writes the lines.
type writer struct{}

func (writer) Levels() []logrus.Level { return logrus.AllLevels }

func (writer) Fire(e *logrus.Entry) error {
	line, err := e.String()
	fmt.Print(line)
	return err
}

// once tells when something was written.
type once struct{ written chan bool }

func (o once) Write(line []byte) (int, error) {
	defer close(o.written)
	return os.Stdout.Write(line)
}

func main() {
	plain := &logrus.TextFormatter{DisableTimestamp: true, DisableColors: true}
	logger := &logrus.Logger{Out: os.Stdout, Formatter: plain, Hooks: logrus.LevelHooks{}, Level: logrus.InfoLevel}
	logger.WithField("orders", 0).Info("shop opens")

	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		entry := logger.WithContext(r.Context()).WithField("order", r.PathValue("id"))
		entry.WithFields(logrus.Fields{"paid": true, "items": []string{"tea", "milk"}}).Info("order read")
		entry.Debug("not written")
		logger.Warnf("%s is short", "tea") // without the context
		done := make(chan struct{})
		go func() { // which has no context to hand on
			defer close(done)
			logger.Infoln("order", r.PathValue("id"), "shipped")
		}()
		<-done
		// It says itself what it belongs to.
		logger.WithField("trace_id", "mine").Info("traced elsewhere")
	})
	mux.HandleFunc("GET /fields", func(w http.ResponseWriter, r *http.Request) {
		logger.WithFields(logrus.Fields{
			"ratio": 0.25, "large": uint64(1 << 63), "took": 1500 * time.Millisecond, "map": map[string]int{"a": 1},
			"addr": net.IPv4(10, 0, 0, 1), "nil": nil, "at": time.Unix(0, 0).UTC(), "func": func() {},
		}).Info("kinds")
	})
	mux.HandleFunc("GET /outputs", func(w http.ResponseWriter, r *http.Request) {
		hooked := &logrus.Logger{Out: io.Discard, Formatter: &logrus.JSONFormatter{DisableTimestamp: true}, Hooks: logrus.LevelHooks{}, Level: logrus.InfoLevel}
		hooked.AddHook(writer{})
		hooked.WithField("n", 1).Info("by a hook")
		nowhere := logrus.New()
		nowhere.SetOutput(io.Discard)
		nowhere.Info("to nowhere")
		func() {
			defer func() { fmt.Println(recover().(*logrus.Entry).Data) }()
			logger.WithField("n", 2).Panic("given up")
		}()
	})
	mux.HandleFunc("GET /context", func(w http.ResponseWriter, r *http.Request) {
		// Of another goroutine that works for nobody, with the context only.
		handed <- r.Context()
		<-handled
	})
	go func() {
		for ctx := range handed {
			logger.WithContext(ctx).Info("by context")
			logger.Info("without")
			handled <- true
		}
	}()
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		logger.WithError(errors.New("the bank said no")).WithField("tries", 2).Error("no order")
		w.WriteHeader(http.StatusInternalServerError)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	call("GET", server.URL+"/orders/7")
	call("POST", server.URL+"/orders")
	for _, path := range []string{"/fields", "/outputs", "/context"} {
		call("GET", server.URL+path)
	}

	logrus.SetOutput(os.Stdout)
	logrus.SetFormatter(plain)
	logrus.SetLevel(logrus.DebugLevel)
	logrus.Debug("shop closes")

	out := once{make(chan bool)}
	logger.Out = out
	log.New(logger.WriterLevel(logrus.WarnLevel), "", 0).Print("closed by package log")
	<-out.written
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
