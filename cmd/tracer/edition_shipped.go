//go:build nolab

package main

func thisEdition() edition { return shipped() }
