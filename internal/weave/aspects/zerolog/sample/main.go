// Lines of zerolog within requests and without: fields, children, an error, one
// level that is off, a logger in the context, the global one.
package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/rs/zerolog"
	"github.com/rs/zerolog/log"
)

func main() {
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
	})
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		logger.Err(errors.New("the bank said no")).Int("tries", 2).Msg("no order")
		w.WriteHeader(http.StatusInternalServerError)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	call("GET", server.URL+"/orders/7")
	call("POST", server.URL+"/orders")

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
