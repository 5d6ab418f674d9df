-- What the gateway says when it refuses.
INSERT INTO api_error_codes (error_code, error_message, error_category, http_status_code, suggested_action) VALUES
('RATE_LIMITER_UNAVAILABLE', 'Requests cannot be counted', 'business', 503, 'Try again after the time in `Retry-After`'),
('ENDPOINT_DISABLED', 'The endpoint is closed', 'business', 503, 'Ask the operator');
INSERT INTO api_error_messages (language, error_code, error_message, suggested_action) VALUES
('vi', 'RATE_LIMITER_UNAVAILABLE', 'Hiện không thể đếm số yêu cầu', 'Hãy thử lại sau thời gian trong `Retry-After`'),
('vi', 'ENDPOINT_DISABLED', 'Điểm cuối này đang đóng', 'Hãy hỏi người vận hành');
