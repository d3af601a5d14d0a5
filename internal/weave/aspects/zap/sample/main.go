// Lines of zap within requests and without: both faces, fields, children, an
// error, one level that is off; the logger knows no context.
package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

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
	})
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		logger.Error("no order", zap.Error(errors.New("the bank said no")), zap.Namespace("payment"), zap.Int("tries", 2))
		w.WriteHeader(http.StatusInternalServerError)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	call("GET", server.URL+"/orders/7")
	call("POST", server.URL+"/orders")

	development, err := zap.NewDevelopment(zap.WithCaller(false), zap.AddStacktrace(zap.FatalLevel))
	if err != nil {
		panic(err)
	}
	development.Debug("shop closes")
	restore := zap.ReplaceGlobals(logger)
	defer restore()
	zap.L().Info("closed")
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
