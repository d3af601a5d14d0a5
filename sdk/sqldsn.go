package sdk

import (
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// What data source names look like, and what is taken out of them. There are
// passwords in them, with any characters, and each driver reads its own: so the
// form is told first, and whatever may be read in two ways, or comes out with
// other characters than addresses and names have, is left out.
var (
	dsnPairs   = regexp.MustCompile(`^\s*[\w ]+\s*=`)
	dsnURL     = regexp.MustCompile(`^[a-zA-Z][\w+.-]*://`)
	dsnAddress = regexp.MustCompile(`^(?:\w+\(([^()]*)\)|(?://)?([^/?()]*))(?:/([^?]*))?(?:\?.*)?$`) // tcp(host:port)/name, host:port/name

	serverText    = regexp.MustCompile(`^[\w.\-:\[\],%/]*$`)
	namespaceText = regexp.MustCompile(`^[\p{L}\p{N}_.\-$/]*$`)
)

// readDSN finds server and database in a data source name, as drivers write
// them: a URL, user:password@tcp(host:port)/name, or key=value.
func readDSN(system, dsn string) (server, namespace string) {
	switch {
	case system == "sqlite" || system == "duckdb": // a file; its folder is nobody's business
		path, _, _ := strings.Cut(strings.TrimPrefix(dsn, "file:"), "?")
		return "", path[strings.LastIndexAny(path, `/\`)+1:]
	case dsnPairs.MatchString(dsn):
		server, namespace = readPairs(system, dsn)
	case dsnURL.MatchString(dsn):
		server, namespace = readURL(dsn)
	default:
		server, namespace = readAddress(system, dsn)
	}
	if !serverText.MatchString(server) {
		server = ""
	}
	if !namespaceText.MatchString(strings.Replace(namespace, "|", "", 1)) {
		namespace = ""
	}
	return server, namespace
}

// readURL reads a URL. One with an @ behind the host has a password that is not
// escaped, and comes apart in the midst of it.
func readURL(dsn string) (server, namespace string) {
	_, rest, _ := strings.Cut(dsn, "://")
	if i := strings.IndexAny(rest, "/?#"); i >= 0 && strings.Contains(rest[i:], "@") {
		return "", ""
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return "", ""
	}
	namespace = strings.Trim(u.Path, "/")
	if name := u.Query().Get("database"); name != "" { // Microsoft's, whose path is an instance
		namespace = strings.Trim(namespace+"|"+name, "|")
	}
	return u.Host, namespace
}

// readAddress reads what is behind the last @; the password may have others. An
// @ behind a ? may be one of a parameter. Without any, an address is one in
// parentheses or none: user/password is written like host/name.
func readAddress(system, dsn string) (server, namespace string) {
	switch system {
	case "postgresql", "cockroachdb", "aws.redshift", "microsoft.sql_server", "ibm.db2": // have no such form
		return "", ""
	}
	at := strings.LastIndexByte(dsn, '@')
	if at < 0 && !strings.Contains(dsn, ")/") && !strings.HasPrefix(dsn, "/") || at >= 0 && strings.Contains(dsn[:at], "?") {
		return "", ""
	}
	m := dsnAddress.FindStringSubmatch(dsn[at+1:])
	if m == nil {
		return "", ""
	}
	return m[1] + m[2], m[3]
}

// readPairs reads key=value. Some drivers have them separated by semicolons, the
// others by spaces.
func readPairs(system, dsn string) (server, namespace string) {
	separators := " \t\r\n"
	switch system {
	case "microsoft.sql_server", "ibm.db2":
		separators = ";"
	case "postgresql", "cockroachdb", "aws.redshift", "oracle.db":
	default:
		if strings.Contains(dsn, ";") { // it may separate, or be in a password
			return "", ""
		}
	}
	var host, port string
	for dsn = strings.TrimLeft(dsn, separators+" "); dsn != ""; dsn = strings.TrimLeft(dsn, separators+" ") {
		key, rest, ok := strings.Cut(dsn, "=")
		value, rest, sure := readValue(strings.TrimLeft(rest, " "), separators)
		if !ok || !sure {
			return "", ""
		}
		dsn = rest
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "host", "server", "addr", "hostname":
			host = value
		case "port":
			port = value
		case "dbname", "database":
			namespace = value
		case "connectstring": // of Oracle
			host, namespace = readAddress(system, "@"+value)
		}
	}
	if _, err := strconv.Atoi(port); err == nil && host != "" && serverText.MatchString(host) {
		return net.JoinHostPort(host, port), namespace
	}
	return host, namespace
}

// readValue reads a value, which may be in quotes. How quotes within it are
// escaped differs, and so does what a quote means elsewhere: then it is not sure
// where the value ends.
func readValue(s, separators string) (value, rest string, sure bool) {
	if s != "" && strings.IndexByte(`'"{`, s[0]) >= 0 {
		closing := s[:1]
		if closing == "{" {
			closing = "}"
		}
		value, rest, sure = strings.Cut(s[1:], closing)
		sure = sure && !strings.Contains(value, `\`) && (rest == "" || strings.IndexByte(separators, rest[0]) >= 0)
		return value, rest, sure
	}
	end := strings.IndexAny(s, separators)
	if end < 0 {
		end = len(s)
	}
	value = s[:end]
	return strings.TrimSpace(value), s[end:], !strings.ContainsAny(value, `'"{}`) && (separators == ";" || !strings.Contains(value, `\`))
}
