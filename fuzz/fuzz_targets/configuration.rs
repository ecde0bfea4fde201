#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| twostep_fuzz::configuration::check(input));
