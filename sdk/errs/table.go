package errs

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
)

// Code is a line of a table of errors: a kind of error with what clients,
// operators and documents say about it. It is immutable and an error itself:
// the target of errors.Is, or what a function returns that has nothing to add.
type Code struct {
	module string
	number int
	name   string
	class  Class
	title  string
	status int
	grpc   uint32
	level  slog.Level
	doc    string
	help   string
	at     string // file and line of its definition
}

// Option changes what follows from the class of a code.
type Option func(*Code)

// HTTP sets the status of answers. The gRPC code follows from it, too, unless
// GRPC says otherwise.
func HTTP(status int) Option {
	return func(c *Code) { c.status = status }
}

// GRPC sets the gRPC code, by its number: 9 is FAILED_PRECONDITION.
func GRPC(code uint32) Option {
	return func(c *Code) { c.grpc = code }
}

// Level sets the level of log records.
func Level(l slog.Level) Option {
	return func(c *Code) { c.level = l }
}

// Doc sets the URL of a page about the code: the type of the problem in
// answers.
func Doc(url string) Option {
	return func(c *Code) { c.doc = url }
}

// Help says in the table what to do about the error. Clients do not get it.
func Help(text string) Option {
	return func(c *Code) { c.help = text }
}

// Error is the name and the title of the code.
func (c *Code) Error() string { return c.name + " " + c.title }

// Name is the module and the number, as in inventory.1001: what clients,
// alerts and the attribute error.type know the error by. It must not change once
// it is in use.
func (c *Code) Name() string { return c.name }

// ErrorType is Name.
func (c *Code) ErrorType() string { return c.name }

// Module is the part of the service, or the service, whose numbers these are.
func (c *Code) Module() string { return c.module }

// Number is the business code, which has nothing to do with HTTP.
func (c *Code) Number() int { return c.number }

// Class says whose fault it is.
func (c *Code) Class() Class { return c.class }

// Title is what clients are told.
func (c *Code) Title() string { return c.title }

// HTTPStatus is the status of an HTTP answer.
func (c *Code) HTTPStatus() int { return c.status }

// GRPCCode is the number of the gRPC code.
func (c *Code) GRPCCode() uint32 { return c.grpc }

// Level is the level of log records.
func (c *Code) Level() slog.Level { return c.level }

// LogValue implements slog.LogValuer.
func (c *Code) LogValue() slog.Value {
	return slog.GroupValue(slog.String("code", c.name), slog.String("class", c.class.String()), slog.String("title", c.title))
}

// Table is a set of codes. The zero value is ready, and it is safe for
// concurrent use. Services use the one of the process, through Define and
// WriteTable; one of its own is for a test, say.
type Table struct {
	mu    sync.Mutex
	codes map[string]*Code
	errs  []error
}

// table is that of the process: codes are package variables, and the document
// is of all that are linked in.
var table Table

// Codes of errors that have none of their own.
var (
	Internal = Define("sdk", 1, Server, "Internal error", Help("Look at the trace and at the log record with its id."))
	Canceled = Define("sdk", 2, Client, "The caller went away", HTTP(statusClientClosed), GRPC(1), Help("Nothing, unless callers give up often: then something is too slow for them."))
	Timeout  = Define("sdk", 3, System, "It took too long", HTTP(http.StatusGatewayTimeout), Help("Find the longest span of the trace."))
)

// statusClientClosed is not registered, but is what proxies write for it.
const statusClientClosed = 499

// Define adds a code to the table of the process. Call it for a package
// variable. It never fails: a second definition of a code, or one that cannot
// be used as it is, is told by Check and WriteTable, for a test to find.
//
// The module is of lower-case letters, digits, - and _; the number above 0. The
// title is public and the same for every case.
func Define(module string, number int, class Class, title string, opts ...Option) *Code {
	return table.define(module, number, class, title, opts)
}

// Define is the function Define for this table.
func (t *Table) Define(module string, number int, class Class, title string, opts ...Option) *Code {
	return t.define(module, number, class, title, opts)
}

func (t *Table) define(module string, number int, class Class, title string, opts []Option) *Code {
	c := &Code{module: module, number: number, name: module + "." + strconv.Itoa(number), class: class, title: title, grpc: noGRPC}
	if _, file, line, ok := runtime.Caller(2); ok {
		c.at = filepath.Join(filepath.Base(filepath.Dir(file)), filepath.Base(file)) + ":" + strconv.Itoa(line)
	}
	switch class {
	case Client:
		c.status, c.level = http.StatusBadRequest, slog.LevelInfo
	case System:
		c.status, c.level = http.StatusServiceUnavailable, slog.LevelError
	default:
		c.status, c.level = http.StatusInternalServerError, slog.LevelError
	}
	for _, o := range opts {
		o(c)
	}
	wrong := c.check()
	if c.status < 400 || c.status > 599 { // the answer must be one all the same
		c.status = http.StatusInternalServerError
	}
	if c.grpc == noGRPC {
		c.grpc = grpcOf(c.status)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.codes == nil {
		t.codes = map[string]*Code{}
	}
	if first := t.codes[c.name]; first != nil {
		wrong = append(wrong, fmt.Errorf("it is defined already at %s: take another number", first.at))
	} else {
		t.codes[c.name] = c
	}
	for _, err := range wrong {
		t.errs = append(t.errs, fmt.Errorf("define error code %s at %s: %w", c.name, c.at, err))
	}
	return c
}

// check is what is wrong with a definition.
func (c *Code) check() (wrong []error) {
	if c.module == "" {
		wrong = append(wrong, errors.New("it has no module"))
	}
	for _, r := range c.module {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' {
			wrong = append(wrong, fmt.Errorf("the module has a %q in it: want lower-case letters, digits, - and _", r))
			break
		}
	}
	if c.number <= 0 {
		wrong = append(wrong, errors.New("the number is not above 0"))
	}
	if c.class < Client || c.class > System {
		wrong = append(wrong, fmt.Errorf("there is no %v: want Client, Server or System", c.class))
	}
	if c.title == "" {
		wrong = append(wrong, errors.New("it has no title"))
	}
	if c.status < 400 || c.status > 599 {
		wrong = append(wrong, fmt.Errorf("HTTP status %d is not that of an error", c.status))
	}
	if c.grpc != noGRPC && (c.grpc == 0 || int(c.grpc) >= len(grpcNames)) {
		wrong = append(wrong, fmt.Errorf("gRPC code %d is not that of an error", c.grpc))
	}
	return wrong
}

// Check says what is wrong with the definitions of the process: codes that are
// there twice, above all. Run and WriteTable call it.
func Check() error { return table.Check() }

// Check is the function Check for this table.
func (t *Table) Check() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return errors.Join(t.errs...)
}

// Codes are those of the process by module and number.
func Codes() []*Code { return table.Codes() }

// Codes is the function Codes for this table.
func (t *Table) Codes() []*Code {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*Code, 0, len(t.codes))
	for _, c := range t.codes {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *Code) int {
		return cmp.Or(cmp.Compare(a.module, b.module), cmp.Compare(a.number, b.number))
	})
	return all
}

// noGRPC stands for a code that the options did not set.
const noGRPC = ^uint32(0)

// grpcNames are the codes by their number.
// Source: github.com/grpc/grpc, doc/statuscodes.md.
var grpcNames = [...]string{"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"}

// grpcOf is the gRPC code that says what an HTTP status does: the inverse of
// how google.rpc.Code maps to HTTP, where that has one.
func grpcOf(status int) uint32 {
	switch status {
	case http.StatusUnauthorized:
		return 16
	case http.StatusForbidden:
		return 7
	case http.StatusNotFound, http.StatusGone:
		return 5
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		return 4
	case http.StatusConflict:
		return 10
	case http.StatusPreconditionFailed, http.StatusPreconditionRequired:
		return 9
	case http.StatusRequestedRangeNotSatisfiable:
		return 11
	case http.StatusRequestEntityTooLarge, http.StatusTooManyRequests, http.StatusInsufficientStorage:
		return 8
	case statusClientClosed:
		return 1
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return 12
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		return 14
	}
	if status < 500 {
		return 3
	}
	return 13
}
