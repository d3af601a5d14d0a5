package sdk

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"reflect"
	"strconv"

	"github.com/guanlan-io/guanlan/sdk/core"
	"github.com/guanlan-io/guanlan/sdk/internal/message"
)

// errPanicked stands for what the driver would have said, had it not panicked. A
// panic is not stopped to see it: it goes on as it would.
var errPanicked = errors.New("the driver panicked")

// sqlFailure is the class of an error of a database, which is its code where it
// has one, and that code. Both are empty for what is no failure.
func sqlFailure(err error) (failure, status string) {
	switch {
	case err == nil, errors.Is(err, sql.ErrNoRows):
		return "", ""
	case err == errPanicked:
		return failureOfPanic, ""
	case errors.Is(err, context.Canceled):
		return "canceled", ""
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout", ""
	}
	if status = statusOf(err); status != "" {
		return status, status
	}
	if errors.Is(err, driver.ErrBadConn) {
		return "bad_connection", ""
	}
	return failureOf(err), ""
}

// statusOf is the code that the database gave an error, by the methods and
// fields that drivers have for it; or empty.
func statusOf(err error) string {
	var state interface{ SQLState() string }
	var number interface{ SQLErrorNumber() int32 }
	var code interface{ Code() int }
	switch {
	case errors.As(err, &state):
		return state.SQLState()
	case errors.As(err, &number):
		return strconv.Itoa(int(number.SQLErrorNumber()))
	case errors.As(err, &code):
		return strconv.Itoa(code.Code())
	}
	for ; err != nil; err = errors.Unwrap(err) {
		v := reflect.Indirect(reflect.ValueOf(err))
		if v.Kind() != reflect.Struct {
			continue
		}
		for _, name := range [...]string{"Number", "ExtendedCode"} { // of go-sql-driver/mysql and mattn/go-sqlite3
			switch f := v.FieldByName(name); f.Kind() {
			case reflect.Int, reflect.Int32, reflect.Int64:
				return strconv.FormatInt(f.Int(), 10)
			case reflect.Uint16, reflect.Uint32:
				return strconv.FormatUint(f.Uint(), 10)
			}
		}
	}
	return ""
}

// describeFailure says more about an error than its class.
func describeFailure(sp *Span, err error, status string) {
	tellStatus(sp, status)
	sp.SetStatus(core.StatusError, message.Plain(err.Error()))
}

// tellStatus sets the code that the database gave an error.
func tellStatus(sp *Span, status string) {
	if status != "" {
		sp.SetAttr(core.String("db.response.status_code", status))
	}
}
