"""What `import so8t` offers: run, compare, load, decide, load_config. Private below these names."""
