// Package start starts the SDK of a program that Guanlan has woven: by a blank
// import, which the weaver adds. Without weaving it is empty.
package start
