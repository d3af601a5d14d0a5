package main

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/guanlan-io/guanlan/sdk"
)

// charge is a request to the payment provider.
type charge struct {
	Order  string `json:"order"`
	Card   string `json:"card"`
	Amount int64  `json:"amount"` // cents
}

// Cards that do not simply pay.
const (
	cardDeclined = "card-declined"
	cardSlow     = "card-slow" // no answer before the caller gives up
)

// runPayment stands in for a provider outside the shop: it sends no telemetry,
// as no SDK is started.
func runPayment(ctx context.Context, c config) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /charges", func(w http.ResponseWriter, r *http.Request) {
		var req charge
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			replyError(w, &statusError{Status: http.StatusBadRequest, Message: err.Error()})
			return
		}
		if req.Card == cardSlow {
			<-r.Context().Done()
			return
		}
		if sleep(r.Context(), 8*time.Millisecond+rand.N(25*time.Millisecond)) != nil {
			return
		}
		if req.Card == cardDeclined {
			replyError(w, &statusError{Status: http.StatusPaymentRequired, Message: "card declined: 余额不足"})
			return
		}
		reply(w, http.StatusCreated, req)
	})
	return sdk.Run(ctx, sdk.HTTP(c.payment, mux), sdk.Drain(drainTimeout))
}
