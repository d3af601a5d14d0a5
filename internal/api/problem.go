package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/guanlan-io/guanlan/internal/query"
	"github.com/guanlan-io/guanlan/internal/store"
)

// statusClientGone is what access logs show for a request whose client left;
// nobody reads the answer.
const statusClientGone = 499

// problem turns an error of the engine into an answer: what is wrong, where,
// and what to do next.
func (d *door) problem(ctx context.Context, err error) error {
	var done huma.StatusError
	var field *query.FieldError
	switch {
	case errors.As(err, &done):
		return done
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled):
		return huma.NewError(statusClientGone, "the client closed the request")
	case errors.As(err, &field):
		return huma.Error422UnprocessableEntity("parameter "+field.Field+" cannot be understood", detail("query."+field.Field, field.Value, field.Msg, field.Next))
	case errors.Is(err, store.ErrInvalid):
		return huma.Error422UnprocessableEntity(err.Error())
	case errors.Is(err, store.ErrNotFound):
		return huma.Error404NotFound(err.Error())
	case errors.Is(err, store.ErrLimit):
		return huma.Error422UnprocessableEntity(err.Error() + "; shorten the time range or add a condition to the filter")
	case errors.Is(err, store.ErrUnavailable):
		return huma.ErrorWithHeaders(huma.Error503ServiceUnavailable(err.Error()+"; try again shortly"), http.Header{"Retry-After": {"1"}})
	case errors.Is(err, context.DeadlineExceeded):
		return huma.Error504GatewayTimeout("the query took longer than its time limit; shorten the time range or add a condition to the filter")
	}
	d.log.ErrorContext(ctx, "answer a question", "error", err)
	first, _, _ := strings.Cut(err.Error(), "\n") // stacks are for the log
	return huma.Error500InternalServerError("internal error: " + first)
}

func detail(location, value, msg, next string) *huma.ErrorDetail {
	if next != "" {
		msg += "; " + next
	}
	return &huma.ErrorDetail{Location: location, Message: msg, Value: value}
}

// writeProblem answers outside of the described routes in the same form.
func writeProblem(w http.ResponseWriter, status int, text string, details ...*huma.ErrorDetail) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// The status is out; a broken connection is all that can fail now.
	_ = json.NewEncoder(w).Encode(huma.ErrorModel{Title: http.StatusText(status), Status: status, Detail: text, Errors: details})
}
