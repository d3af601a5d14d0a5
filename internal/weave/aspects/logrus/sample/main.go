// Lines of logrus within requests and without: fields, an error, one level that
// is off, the context given and not, the global logger.
package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/sirupsen/logrus"
)

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
	})
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		logger.WithError(errors.New("the bank said no")).WithField("tries", 2).Error("no order")
		w.WriteHeader(http.StatusInternalServerError)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	call("GET", server.URL+"/orders/7")
	call("POST", server.URL+"/orders")

	logrus.SetOutput(os.Stdout)
	logrus.SetFormatter(plain)
	logrus.SetLevel(logrus.DebugLevel)
	logrus.Debug("shop closes")
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
